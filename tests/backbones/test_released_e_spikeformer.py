"""Released weights of E-SpikeFormer: equal answers and gradients of the plain compositions, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import synfire
from benchmarks.models.plain_e_spikeformer import PlainESpikeFormer
from synfire.core.errors import CheckpointError
from synfire.core.released import create_released, match, recognise
from tests.backbones.manifests import blank_state, count_parameters, read_manifest
from tests.backbones.released_checks import (
    assert_close,
    assert_equal_gradients,
    assert_every_tensor_counts,
    load_whole,
    randomise,
)
from tests.backbones.upstream_large import UpstreamLarge

BASE = {"widths": (8, 8, 16, 24), "depths": (1, 1, 2, 2, 1), "heads": 2, "num_classes": 5}
LARGE = {
    "widths": (8, 12, 16),
    "depths": (1, 1, 2, 2),
    "heads": 2,
    "num_classes": 5,
    "drop_path": 0.0,
}


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 96, 80, dtype=torch.float64)


@pytest.fixture
def upstream_base(images: Tensor) -> nn.Module:
    return randomise(PlainESpikeFormer((8, 8, 16, 24), 5, depths=(2, 1), heads=2), images)


def _upstream_large(images: Tensor, kd: bool = True, middle: int = 24) -> nn.Module:
    net = UpstreamLarge((8, 12, 16), 5, depth=2, heads=2, rep_middle=middle, kd=kd)
    return randomise(net, images)


def _large(middle: int = 24, **options: Any) -> nn.Module:
    return synfire.create_model(
        "e_spikeformer_83m", **LARGE, rep_conv_ratio=middle / 16, **options
    ).eval()


def test_base_family_answers_and_learns_alike(upstream_base: nn.Module, images: Tensor) -> None:
    net = synfire.create_model("e_spikeformer_t", **BASE).eval()
    report = load_whole(net, upstream_base)
    with torch.no_grad():
        assert_close(net(images), upstream_base(images))
    for each in (net, upstream_base):
        each.train()(images).square().sum().backward()
    assert_equal_gradients(net, upstream_base, report)
    ours, theirs = net.state_dict(), upstream_base.state_dict()
    for name, target in report.loaded.items():  # the statistics that this step updated
        assert torch.allclose(theirs[name].flatten(), ours[target].flatten(), rtol=1e-9), name


@pytest.mark.parametrize("kd", [True, False])
@pytest.mark.parametrize("middle", [16, 24, 0])
def test_large_family_answers_and_learns_alike(images: Tensor, kd: bool, middle: int) -> None:
    upstream = _upstream_large(images, kd, middle)
    net = _large(middle, distillation_head=kd)
    report = load_whole(net, upstream)
    with torch.no_grad():
        assert_close(net(images), upstream(images))
    for each in (net, upstream):
        out = each.train()(images)
        logits = out if kd else (out,)
        sum(part.square().sum() for part in logits).backward()
    assert_equal_gradients(net, upstream, report)


def test_ties_round_as_the_weights_were_trained(upstream_base: nn.Module, images: Tensor) -> None:
    ties = torch.tensor([0.0, 0.5, 1.5, 2.5, 3.5, 4.0], dtype=torch.float64)
    base = synfire.create_model("e_spikeformer_t", neuron="sfa_large", **BASE)
    large = _large(neuron="sfa_base")
    synfire.load_released(base, upstream_base.state_dict())
    synfire.load_released(large, _upstream_large(images).state_dict())
    for net, counts, slopes in (
        (base, [0, 0, 2, 2, 4, 4], [1, 1, 1, 1, 1, 1]),
        (large, [0, 1, 2, 3, 4, 4], [0, 1, 1, 1, 1, 0]),
    ):
        inside, last = net.stages[1].down.neuron, net.head_neuron
        u = ties.clone().requires_grad_()
        inside(u).sum().backward()
        assert (4 * inside(ties)).tolist() == counts
        assert (4 * u.grad).tolist() == slopes
        assert last(ties).tolist() == counts


def test_the_variant_is_saved(upstream_base: nn.Module, images: Tensor, tmp_path: Path) -> None:
    net = synfire.create_model("e_spikeformer_t", **BASE).eval()
    load_whole(net, upstream_base)
    again = synfire.load(synfire.save(net, tmp_path / "run"))
    ties = torch.tensor([0.5, 1.5, 2.5])
    assert (4 * again.stages[1].down.neuron(ties)).tolist() == [0, 2, 2]
    assert again.config["options"]["rounding"] == "half_even"
    with torch.no_grad():
        assert torch.equal(again(images), net(images))


def test_every_tensor_of_the_base_family_counts(upstream_base: nn.Module, images: Tensor) -> None:
    net = synfire.create_model("e_spikeformer_t", **BASE).eval().double()
    x = images[:1]
    assert_every_tensor_counts(net, upstream_base, lambda: (net.forward_features(x), net(x)))


def test_every_tensor_of_the_large_family_counts(images: Tensor) -> None:
    net, x = _large().double(), images[:1]
    assert_every_tensor_counts(
        net, _upstream_large(images), lambda: (net.forward_features(x), net(x))
    )


RELEASED = [
    *[(f"base_{size}", f"e_spikeformer_{size}") for size in "tsml"],
    ("large_finetune_83M", "e_spikeformer_83m"),
    ("large_finetune_83M_nokd", "e_spikeformer_83m"),
    ("large_finetune_173M", "e_spikeformer_173m"),
    ("large_finetune_173M_nokd", "e_spikeformer_173m"),
]


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "model"), RELEASED)
def test_released_names_and_shapes_fit_whole(data_root: Path, name: str, model: str) -> None:
    manifest = read_manifest(data_root, f"Spike-Driven-Transformer-V3/{name}")
    tensors = blank_state(manifest)
    layout = recognise(tensors)
    fitting, options = layout.fitting({key: tuple(t.shape) for key, t in tensors.items()})
    assert fitting == model
    assert options.keys() <= {"neuron", "distillation_head"}
    with torch.device("meta"):
        net = synfire.create_model(fitting, **options)
    found = match(net, tensors, layout)
    assert len(found.sources) == len(tensors) == len(net.state_dict())
    assert not (found.unused or found.missing or found.mismatched or found.counters)
    assert count_parameters(net) == manifest["parameters"]


def test_the_fitting_model_is_built(upstream_base: nn.Module, images: Tensor) -> None:
    net, report = create_released(
        {"model": upstream_base.state_dict(), "epoch": 3}, heads=2, levels=4
    )
    assert net.config["model"] == "e_spikeformer_t"
    assert net.options["widths"] == (8, 8, 16, 24) and net.options["num_classes"] == 5
    assert report.container == "model" and not net.training
    with torch.no_grad():
        assert_close(net.double()(images), upstream_base(images), 1e-5)  # loaded in float32


def test_another_number_of_classes_is_a_partial_load(upstream_base: nn.Module) -> None:
    net = synfire.create_model("e_spikeformer_t", **BASE | {"num_classes": 7})
    head = net.head.weight.detach().clone()
    state = upstream_base.state_dict()
    with pytest.raises(
        CheckpointError, match=r"head.weight has shape \[5, 24\].*\[7, 24\].*partial"
    ):
        synfire.load_released(net, state)
    report = synfire.load_released(net, state, partial=True)
    assert list(report.missing) == list(report.unused) == ["head.weight", "head.bias"]
    assert "[5, 24] in the checkpoint, [7, 24] in the net" in str(report)
    assert torch.equal(net.head.weight, head)
    assert len(report.loaded) == len(state) - 2


def test_a_net_of_other_widths_is_refused_even_for_a_part(upstream_base: nn.Module) -> None:
    net = synfire.create_model("e_spikeformer_t", **BASE | {"widths": (8, 8, 16, 32)})
    before = [tensor.clone() for tensor in net.state_dict().values()]
    for partial in (False, True):
        with pytest.raises(CheckpointError, match=r"widths=\(8, 8, 16, 24\)"):
            synfire.load_released(net, upstream_base.state_dict(), partial=partial)
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))


def test_a_net_of_another_family_is_told_the_right_one(upstream_base: nn.Module) -> None:
    net = synfire.create_model("spiking_cnn_tiny")
    with pytest.raises(CheckpointError, match=r"SpikingCNN: build the model with.*e_spikeformer_t"):
        synfire.load_released(net, upstream_base.state_dict())


def test_a_missing_distillation_head_makes_a_partial_load(images: Tensor) -> None:
    state = _upstream_large(images, kd=True).state_dict()
    net = _large(distillation_head=False)
    with pytest.raises(CheckpointError, match=r"holds head_kd.weight, head_kd.bias for which"):
        synfire.load_released(net, state)
    report = synfire.load_released(net, state, partial=True)
    assert list(report.unused) == ["head_kd.weight", "head_kd.bias"]
    assert report.complete


def test_counters_may_be_absent(upstream_base: nn.Module) -> None:
    state = upstream_base.state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    net = synfire.create_model("e_spikeformer_t", **BASE)
    report = synfire.load_released(net, old)
    assert report.complete
    assert len(report.counters) == len(state) - len(old)
    assert "num_batches_tracked absent" in str(report)


def test_missing_tensors_are_named(upstream_base: nn.Module) -> None:
    state = upstream_base.state_dict()
    net = synfire.create_model("e_spikeformer_t", **BASE)
    stale = {key: value for key, value in state.items() if "running_var" not in key}
    with pytest.raises(
        CheckpointError, match=r"lacks .*running_var.* more tensors .*average=False"
    ):
        synfire.load_released(net, {"ema": stale, "model": state})
    report = synfire.load_released(net, stale, partial=True)
    assert len(report.missing) == len(state) - len(stale) and not report.complete
    assert all(f"  {name}\n" in f"{report}\n" for name in report.missing)


def test_left_over_tensors_are_named(upstream_base: nn.Module) -> None:
    state = {**upstream_base.state_dict(), "head_of_another.weight": torch.zeros(3)}
    net = synfire.create_model("e_spikeformer_t", **BASE)
    with pytest.raises(CheckpointError, match=r"holds head_of_another\.weight for which"):
        synfire.load_released(net, state)
    assert list(synfire.load_released(net, state, partial=True).unused) == [
        "head_of_another.weight"
    ]


def test_casts_are_reported(upstream_base: nn.Module) -> None:
    net = synfire.create_model("e_spikeformer_t", **BASE)
    report = synfire.load_released(net, upstream_base.state_dict())
    assert set(report.casts) == {"float64 to float32"}
    assert report.to_dict()["casts"] == report.casts


def test_a_net_without_memory_is_refused(upstream_base: nn.Module) -> None:
    with torch.device("meta"):
        net = synfire.create_model("e_spikeformer_t", **BASE)
    with pytest.raises(CheckpointError, match="meta device"):
        synfire.load_released(net, upstream_base.state_dict())


def test_event_nets_keep_their_own_first_convolution(upstream_base: nn.Module) -> None:
    net = synfire.create_model(
        "e_spikeformer_t", **BASE, in_channels=2, timesteps=2, neuron="sfa_event"
    )
    report = synfire.load_released(net, upstream_base.state_dict(), partial=True)
    assert list(report.missing) == ["stages.0.down.conv.0.weight"]
