"""Every benchmark of this machine at tiny sizes: its contestants agree and its outcome can be written."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from benchmarks import harness, peers
from benchmarks.harness import Disagreement, measure_together, save
from benchmarks.kernels import integrate_fire, integrate_fire_cuda
from benchmarks.layers import conv_norm_neuron, conv_norm_neuron_cuda
from benchmarks.outcome import read


@pytest.fixture
def tiny(monkeypatch):
    """Sizes of a moment, the CPU in place of a GPU, and nothing to compile."""
    monkeypatch.setattr(integrate_fire, "STATE", (2, 3, 4, 5))
    monkeypatch.setattr(integrate_fire, "ROUNDS", 2)
    monkeypatch.setattr(integrate_fire, "TRAINING_ROUNDS", 2)
    monkeypatch.setattr(integrate_fire, "has_compiler", lambda: False)
    monkeypatch.setattr(conv_norm_neuron, "SHAPES", ((4, 6),))
    monkeypatch.setattr(conv_norm_neuron, "ROUNDS", 2)
    monkeypatch.setattr(conv_norm_neuron, "has_compiler", lambda: False)
    for name, value in {"DEVICE": "cpu", "STATE": (3, 4, 5), "BATCH": 16}.items():
        monkeypatch.setattr(integrate_fire_cuda, name, value)
    sizes = {"DEVICE": "cpu", "BATCH": 32, "CHANNELS": 4, "SIZE": 6, "LAYERS": 2}
    for name, value in sizes.items():
        monkeypatch.setattr(conv_norm_neuron_cuda, name, value)
    for module in (integrate_fire_cuda, conv_norm_neuron_cuda):
        monkeypatch.setattr(module, "measure_on_gpu", lambda calls, *_: measure_together(calls, 2))
    monkeypatch.setattr(integrate_fire_cuda, "kernels_of", lambda step: "none")
    monkeypatch.setattr(conv_norm_neuron_cuda, "peak_bytes", lambda step: step() or 1 << 30)
    monkeypatch.setattr(peers, "spikingjelly_kernels", lambda: "not asked")
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)


def test_neurons_on_the_cpu(tiny, tmp_path):
    content = read(save("neurons", integrate_fire.run(), tmp_path))
    titles = list(content["milliseconds"])
    assert "LIF, T=4, forward" in titles
    assert "integer LIF, T=16, forward and backward" in titles
    assert {"copy", "synfire, output reused"} <= set(content["milliseconds"][titles[0]])
    assert [row["measure"] for row in content["targets"] if row["unit"] == "% of the roof"]


def test_neurons_on_a_gpu(tiny, tmp_path):
    content = read(save("neurons", integrate_fire_cuda.run(), tmp_path))
    measures = [row["measure"] for row in content["targets"]]
    assert "integer LIF, float32, T=4, backward" in measures
    assert any("one operator against two" in measure for measure in measures)
    assert {row["where"] for row in content["targets"]} == {harness.gpu_name()}


def test_layers_on_the_cpu(tiny, tmp_path):
    content = read(save("layers", conv_norm_neuron.run(), tmp_path))
    assert list(content["milliseconds"]) == [
        "4 channels of 6x6, training step", "4 channels of 6x6, inference",
    ]  # fmt: skip
    assert set(content["milliseconds"]["4 channels of 6x6, inference"]) >= {"synfire", "torch loop"}


def test_layers_on_a_gpu(tiny, tmp_path):
    content = read(save("layers", conv_norm_neuron_cuda.run(), tmp_path))
    kept = content["memory"]["float32: bytes kept an element and layer"]
    # Two norms' inputs and one neuron's output, which feeds the other convolution.
    assert 4.25 <= kept["synfire integer LIF, packed, channels last"] < 4.5
    assert 6 <= kept["synfire integer LIF, channels last"] < 6.25
    assert 6 <= kept["synfire LIF, contiguous"] < 6.25
    measures = [row["measure"] for row in content["targets"]]
    assert "conv-BN-neuron x4, bfloat16 autocast: synfire LIF, time over the ReLU floor" in measures


def test_a_peer_that_fails_is_left_out_and_named(tiny, monkeypatch):
    def refusing(dtype, device):
        return {"spikingjelly refusing": fails, "spikingjelly wrong": lambda x: x * 1.0}

    def fails(x):
        raise RuntimeError("no kernel for this device")

    monkeypatch.setattr(peers, "spikingjelly_forms", refusing)
    tables, _, notes = integrate_fire_cuda.against_peers()
    title = "LIF, float32, T=4, training step"
    assert set(tables[title]) == {"synfire", "torch.compile of the loop"}
    assert notes[f"{title}, spikingjelly refusing"].endswith("no kernel for this device")
    assert "gives other counts" in notes[f"{title}, spikingjelly wrong"]
    _, found = conv_norm_neuron_cuda.compare(None)
    assert set(found.notes) >= {"spikingjelly refusing", "spikingjelly wrong"}


def test_a_contestant_with_other_gradients_is_not_timed():
    x, grad = torch.randn(4, 2, 30, requires_grad=True), torch.randn(4, 2, 30)
    integrate_fire.check("loop", peers.lif_loop, peers.lif_loop, x, grad)
    with pytest.raises(Disagreement, match="norse is off by"):
        integrate_fire.check("norse", peers.norse_loop, peers.lif_loop, x, grad)
    with pytest.raises(Disagreement, match="integer gives other counts"):
        integrate_fire.check("integer", peers.integer_loop, peers.lif_loop, x, grad)


@pytest.mark.parametrize(
    ("package", "peer", "loop"),
    [
        ("spikingjelly", lambda: peers.spikingjelly_forms(torch.float32, "cpu"), peers.lif_loop),
        (
            "spikingjelly",
            lambda: peers.spikingjelly_integer_forms(torch.float32, "cpu"),
            peers.integer_loop,
        ),
        ("snntorch", lambda: {"snntorch": peers.snntorch_lif()}, peers.lif_loop),
        ("norse", lambda: {"norse": peers.norse_lif()}, peers.norse_loop),
    ],
)
def test_peers_mean_the_same(package, peer, loop):
    if not find_spec(package):
        pytest.skip(f"needs {package}")
    x, grad = torch.randn(4, 2, 30, requires_grad=True), torch.randn(4, 2, 30)
    for name, net in peer().items():
        integrate_fire.check(name, net, loop, x, grad)
