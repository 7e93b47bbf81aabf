"""Sizes: exact parameters, neurons, convolutions, shapes, features, options."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import ConfigError, UnknownNameError
from synfire.core.neuron import named_neurons
from synfire.layers import SpikeAttention
from synfire.neurons import IntegerLIF
from tests.backbones.e_spikeformer.small import calibrated, small_base, small_large


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def published(name, **options):
    with torch.device("meta"):
        return synfire.create_model(name, **options)


@pytest.mark.parametrize(
    ("size", "total"), [("t", 2_702_048), ("s", 5_105_608), ("m", 10_023_112), ("l", 18_987_504)]
)
def test_base_models(size, total):
    net = published(f"e_spikeformer_{size}")
    assert parameters(net) == total
    assert len(named_neurons(net)) == 105
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == 97
    assert {neuron.levels for _, neuron in named_neurons(net)} == {4}
    scales = [neuron.scale for _, neuron in named_neurons(net)]
    assert scales == [0.25] * 104 + [1.0]


def test_stages_of_m():
    net = published("e_spikeformer_m")
    found = [
        (parameters(stage.down), [parameters(b) for b in stage.blocks]) for stage in net.stages
    ]
    assert found == [
        (3_600, [46_608]),
        (10_512, [180_768]),
        (41_760, [711_744] * 2),
        (166_464, [152_832 + 371_328 + 297_792] * 6),
        (415_440, [2_561_760 // 2] * 2),
    ]
    block = net.stages[3].blocks[0]
    parts = (block.separable, block.attention, block.mlp)
    assert [parameters(part) for part in parts] == [152_832, 371_328, 297_792]
    assert parameters(net.head) == 241_000


@pytest.mark.parametrize(
    ("name", "options", "total"),
    [
        ("83m", {}, 83_015_952),
        ("83m", {"distillation_head": False}, 82_502_952),
        ("173m", {}, 171_740_714),
        ("173m", {"distillation_head": False}, 170_971_714),
        ("173m", {"widths": (192, 384, 768)}, 171_579_824),
        ("173m", {"widths": (192, 384, 768), "distillation_head": False}, 170_810_824),
    ],
)
def test_large_models(name, options, total):
    assert parameters(published(f"e_spikeformer_{name}", **options)) == total


def test_stages_of_83m():
    net = published("e_spikeformer_83m")
    found = [
        (parameters(stage.down), [parameters(b) for b in stage.blocks]) for stage in net.stages
    ]
    assert found == [
        (9_600, [295_872]),
        (74_112, [1_181_568]),
        (295_680, [4_722_432] * 2),
        (1_181_184, [5_792_256] * 12),
    ]
    block = net.stages[3].blocks[0]
    parts = (block.rep_conv, block.attention, block.mlp)
    assert [parameters(part) for part in parts] == [526_336, 3_160_064, 2_104_832]
    assert block.layer_scale1.numel() + block.layer_scale2.numel() == 1_024
    assert parameters(net.head) == parameters(net.head_kd) == 513_000
    rates = [block.drop_path.rate for block in net.stages[3].blocks]
    assert rates[0] == 0 and rates[-1] == 0.1
    assert all(math.isclose(b - a, 0.1 / 11) for a, b in pairwise(rates))


def test_a_block_of_173m():
    block = published("e_spikeformer_173m").stages[3].blocks[0]
    assert parameters(block) == 11_831_040
    assert block.rep_conv is None and block.attention.scale == 0.125


def test_layers_of_parameters():
    net = published("e_spikeformer_83m")
    layers = net.parameter_layers()
    assert list(layers) == [name for name, _ in net.named_parameters()]
    assert (
        layers["stages.0.down.conv.0.weight"]
        == layers["stages.2.blocks.1.dense.project.0.bias"]
        == 0
    )
    assert layers["stages.3.down.conv.0.weight"] == 0
    assert [layers[f"stages.3.blocks.{i}.layer_scale1"] for i in range(12)] == list(range(1, 13))
    assert layers["head.weight"] == layers["head_kd.bias"] == 13
    layers = published("e_spikeformer_t").parameter_layers()
    assert layers["stages.4.down.conv.0.weight"] == 6
    assert layers["stages.4.blocks.1.mlp.project.0.weight"] == 8 == layers["head.bias"] - 1


def test_blocks_in_the_form_of_pre_training():
    net = published("e_spikeformer_83m", layer_scale=None, drop_path=0.0, distillation_head=False)
    assert not any("layer_scale" in name for name, _ in net.named_parameters())
    assert parameters(net.stages[3].blocks) == 12 * (5_792_256 - 1_024)


@pytest.mark.parametrize("size", [(32, 32), (48, 16), (28, 28), (33, 47)])
@pytest.mark.parametrize("make", [small_base, small_large])
def test_shapes(make, size):
    net = make(in_channels=2, features_only=True).eval()
    maps = net(torch.rand(2, 2, *size))
    assert net.feature_strides == [2, 4, 8, 16]
    for x, channels, stride in zip(maps, net.feature_channels, net.feature_strides, strict=True):
        assert x.shape == (2, channels, *(-(-side // stride) for side in size))
    whole = make(in_channels=2).eval()
    whole.load_state_dict(net.state_dict(), strict=False)
    folded = torch.rand(2, 2, *size)
    assert torch.equal(whole.forward_features(folded), whole.features(folded)[-1])
    assert whole(folded).shape == (2, 5)


def test_features_of_published_sizes():
    net = published("e_spikeformer_l", features_only=True)
    assert net.feature_channels == [32, 64, 128, 360]
    assert not hasattr(net, "head")
    assert published("e_spikeformer_83m", features_only=True).feature_channels == [
        64,
        128,
        256,
        512,
    ]
    maps = net.features(torch.empty(1, 3, 64, 96, device="meta"))
    assert [tuple(x.shape[2:]) for x in maps] == [(32, 48), (16, 24), (8, 12), (4, 6)]


def test_mnist_keeps_seven_by_seven_tokens():
    net = small_base(in_channels=1, stem_strides=(1, 2, 2, 1, 1))
    assert net.forward_features(torch.rand(2, 1, 28, 28)).shape == (2, 24, 7, 7)
    assert net.feature_strides == [1, 2, 4, 4]


def test_a_stage_without_blocks():
    net = small_base(depths=(1, 0, 1, 1, 0), stem_strides=(1, 2, 2, 1, 1))
    assert net(torch.rand(2, 3, 16, 16)).shape == (2, 5)
    assert net.feature_channels == [4, 8, 8, 24]


def test_event_input():
    """19M configuration, 2 channels, 300 classes; IF neurons with D = 8."""
    net = published("e_spikeformer_l", in_channels=2, num_classes=300, neuron="sfa_event")
    assert parameters(net) == 18_733_236 and net.head_neuron.levels == 8
    net = small_base(in_channels=2, timesteps=3, neuron="sfa_event")
    neurons = [neuron for _, neuron in named_neurons(net)]
    assert {(n.levels, n.timesteps, n.constants["decay"]) for n in neurons} == {(8, 3, 1.0)}
    events = torch.randint(0, 2, (3, 2, 2, 32, 32)).float()
    calibrated(net, events)
    assert net(events).shape == (2, 5)
    assert not torch.equal(net(events), net(events.flip(0)))  # potentials are carried in time


def test_presets_and_their_parts():
    first = small_base(neuron="sfa_base").head_neuron
    assert (first.constants["rounding"], first.constants["inclusive"]) == ("half_even", True)
    second = small_large(neuron="sfa_large", levels=8).head_neuron
    assert (second.constants["rounding"], second.constants["inclusive"]) == ("half_up", False)
    assert second.levels == 8 and second.scale == 1.0
    third = small_base(rounding="half_even", window="exclusive").head_neuron
    assert (third.constants["rounding"], third.constants["inclusive"]) == ("half_even", False)
    assert small_base().head_neuron.constants["rounding"] == "half_up"


@pytest.mark.parametrize("make", ["e_spikeformer_t", "e_spikeformer_83m"])
def test_options_are_kept(make):
    net = published(make, num_classes=3, depths=[1] * (5 if make.endswith("t") else 4))
    kept = json.loads(json.dumps(net.options))
    assert kept["num_classes"] == 3 and kept["timesteps"] == 1 and kept["stem_strides"][0] == 2
    again = published(make, **kept)
    assert parameters(again) == parameters(net) and again.options == net.options


def test_save_and_load(tmp_path):
    net = synfire.create_model(
        "e_spikeformer_t", num_classes=3, widths=(8, 8, 16, 24), depths=(1, 1, 1, 1, 1), heads=2
    ).eval()
    synfire.save(net, tmp_path / "net")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(synfire.load(tmp_path / "net")(x), net(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (8, 8, 16)}, "widths takes 4 integers of at least 2"),
        ({"depths": (1, 1, 1, 1, -1)}, "depths takes 5 integers of at least 0"),
        ({"stem_strides": (2, 2)}, "stem_strides takes 5"),
        ({"num_classes": 0}, "num_classes, in_channels and heads must be positive"),
        ({"heads": 3}, "multiple of heads=3"),
    ],
)
def test_sizes_that_build_no_net(options, message):
    with pytest.raises(ConfigError, match=message):
        small_base(**options)


def test_an_unknown_neuron():
    with pytest.raises(UnknownNameError, match="sfa"):
        small_base(neuron="sfa_huge")


def test_scale_and_values_of_the_attention():
    base = published("e_spikeformer_m").stages[3].blocks[0].attention
    assert isinstance(base, SpikeAttention) and base.heads == 8
    assert base.scale == 2 / (192 / 8) ** 0.5
    assert base.project[0].weight.shape == (192, 4 * 192, 1, 1)
    assert all(isinstance(m, IntegerLIF) for m in (base.neuron, base.attention_neuron))
