"""The plain compositions hold exactly the tensors of the released checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.models.plain_e_spikeformer import (
    NEURONS,
    Neuron,
    PlainESpikeFormer,
    plain_e_spikeformer,
)
from tests.backbones.manifests import count_parameters, read_manifest, shapes_of
from tests.backbones.upstream_large import UpstreamLarge, UpstreamMAE
from tests.backbones.upstream_t_revsnn import UpstreamTRevSNN


@pytest.mark.realdata
@pytest.mark.parametrize("size", "tsml")
def test_base_family_has_the_released_tensors(data_root: Path, size: str) -> None:
    manifest = read_manifest(data_root, f"Spike-Driven-Transformer-V3/base_{size}")
    with torch.device("meta"):
        net = plain_e_spikeformer(size)
    assert list(shapes_of(net).items()) == list(manifest["tensors"].items())
    assert count_parameters(net) == manifest["parameters"]


@pytest.mark.realdata
@pytest.mark.parametrize("kd", [True, False])
@pytest.mark.parametrize(("size", "widths"), [("83M", (128, 256, 512)), ("173M", (196, 384, 768))])
def test_large_family_has_the_released_tensors(
    data_root: Path, size: str, widths: tuple[int, int, int], kd: bool
) -> None:
    name = f"Spike-Driven-Transformer-V3/large_finetune_{size}{'' if kd else '_nokd'}"
    manifest = read_manifest(data_root, name)
    with torch.device("meta"):
        net = UpstreamLarge(widths, rep_middle=512 if size == "83M" else 0, kd=kd)
    assert shapes_of(net) == manifest["tensors"]
    assert count_parameters(net) == manifest["parameters"]


@pytest.mark.realdata
@pytest.mark.parametrize(("size", "widths"), [("83M", (128, 256, 512)), ("173M", (192, 384, 768))])
def test_the_autoencoder_has_the_released_tensors(
    data_root: Path, size: str, widths: tuple[int, int, int]
) -> None:
    manifest = read_manifest(data_root, f"Spike-Driven-Transformer-V3/mae_pretrain_{size}")
    with torch.device("meta"):
        net = UpstreamMAE(widths, rep_middle=512 if size == "83M" else 0)
    assert shapes_of(net) == manifest["tensors"]
    assert count_parameters(net) == manifest["parameters"]


T_REVSNN = {
    "small": {"channels": (96, 192, 384, 512)},
    "small_no_inter_supv": {"channels": (96, 192, 384, 512), "inter_supv": False},
    "tiny": {"channels": (64, 128, 256, 384)},
    "tiny_no_inter_supv": {"channels": (64, 128, 256, 384), "inter_supv": False},
    "tiny_dvs_k3_10classes": {"kernel": 3, "num_classes": 10},
    "tiny_dvs_k3_11classes": {"kernel": 3, "num_classes": 11},
    "tiny_dvs_k5_10classes": {"kernel": 5, "num_classes": 10},
}
EVENTS = {"channels": (32, 64, 128, 256), "columns": 8, "inter_supv": False, "frames": True}


@pytest.mark.realdata
@pytest.mark.parametrize("name", T_REVSNN)
def test_t_revsnn_has_the_released_tensors(data_root: Path, name: str) -> None:
    manifest = read_manifest(data_root, f"T-RevSNN/{name}")
    with torch.device("meta"):
        net = UpstreamTRevSNN(**(EVENTS if "dvs" in name else {}), **T_REVSNN[name])
    assert list(shapes_of(net).items()) == list(manifest["tensors"].items())
    assert count_parameters(net) == manifest["parameters"]


def test_base_family_has_the_published_size_and_neurons() -> None:
    with torch.device("meta"):
        net = plain_e_spikeformer("m")
    assert count_parameters(net) == 10_023_112
    assert sum(isinstance(module, Neuron) for module in net.modules()) == 105


def test_both_plain_neurons_are_the_same_function() -> None:
    x = torch.tensor([-0.1, 0.0, 0.5, 1.5, 2.5, 3.7, 4.0, 4.1], dtype=torch.float64)
    for kind in NEURONS:
        leaf = x.clone().requires_grad_()
        out = Neuron(levels=4, norm=4, kind=kind)(leaf)
        out.sum().backward()
        assert (4 * out).tolist() == [0, 0, 0, 2, 2, 4, 4, 4]
        assert (4 * leaf.grad).tolist() == [0, 1, 1, 1, 1, 1, 1, 0]


def test_a_plain_net_learns_alike_with_both_neurons() -> None:
    gradients = []
    for kind in NEURONS:
        torch.manual_seed(0)
        net = PlainESpikeFormer((8, 8, 8, 16), 3, depths=(1, 1), heads=2, neuron=kind)
        net(torch.rand(2, 3, 32, 48)).square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert sum(int(grad.abs().sum() > 0) for grad in gradients[0]) > 100
