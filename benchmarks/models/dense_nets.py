"""One dense pass of a deployed graph on torch's own CPU kernels: float32, and int8 on FBGEMM or oneDNN."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as nn_functional
from torch import Tensor, nn

from synfire.export import Node, SpikeGraph

Pass = Callable[[Tensor], Tensor]


class DenseNet(nn.Module):
    """The graph's nodes as torch calls on channels-last tensors, [B, ...] and states in, logits and states out."""

    def __init__(self, graph: SpikeGraph) -> None:
        super().__init__()
        self.graph, self.order = graph, [node for node in graph if node.op != "Source"]
        self.neurons = [node.name for node in graph.neurons()]
        for node in self.order:
            for key, array in node.weights.items():
                value = torch.from_numpy(array)
                if key == "weight" and value.ndim == 4:
                    value = value.contiguous(memory_format=torch.channels_last)
                self.register_buffer(
                    f"{node.name}_{key}", value.flatten() if key == "bias" else value
                )

    def forward(self, x: Tensor, states: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        values, after = {self.graph.source.name: x}, {}
        for node in self.order:
            inputs = [values[name] for name in node.inputs]
            if node.op == "Neuron":
                out, after[node.name] = self._fire(node, inputs[0], states.get(node.name))
            else:
                out = getattr(self, f"_{node.op.lower()}")(node, *inputs)
            values[node.name] = out
        return values[self.graph.sink.name], after

    def _weight(self, node: Node, key: str) -> Tensor | None:
        return getattr(self, f"{node.name}_{key}", None)

    def _conv(self, node: Node, x: Tensor) -> Tensor:
        (pad_y, _), (pad_x, _) = node.attrs["padding"]
        return nn_functional.conv2d(
            x, self._weight(node, "weight"), self._weight(node, "bias"), node.attrs["stride"],
            (pad_y, pad_x),
        )  # fmt: skip

    def _linear(self, node: Node, x: Tensor) -> Tensor:
        return nn_functional.linear(x, self._weight(node, "weight"), self._weight(node, "bias"))

    def _add(self, node: Node, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def _pool(self, node: Node, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def _reshape(self, node: Node, x: Tensor) -> Tensor:
        return x.flatten(1)

    def _timemean(self, node: Node, x: Tensor) -> Tensor:
        return x

    def _sink(self, node: Node, x: Tensor) -> Tensor:
        return x

    def _fire(self, node: Node, x: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rounds half up, with soft reset and a threshold of one, as the shipped nets do."""
        levels = node.attrs["levels"]
        h = x if v is None else torch.add(x, v, alpha=float(node.weights["decay"]))
        counts = (h + 0.5).clamp_(0.0, levels + 0.5).floor_()
        return counts, h - counts if self.graph.timesteps > 1 else counts


def dense_floats(graph: SpikeGraph) -> Pass:
    """Eager torch; timed input [T, B, ...] to logits."""
    net = DenseNet(graph).eval()
    return lambda x: over_time(net, x)


def dense_frozen(graph: SpikeGraph, example: Tensor) -> Pass:
    """The same traced, frozen and prepared for oneDNN; for one timestep."""
    net = DenseNet(graph).eval()

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x, {})[0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is said to go
        last = example[0].contiguous(memory_format=torch.channels_last)
        traced = torch.jit.trace(Step().eval(), last, check_trace=False)
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        for _ in range(3):
            frozen(last)
    return lambda x: frozen(x[0].contiguous(memory_format=torch.channels_last))


def over_time(net: Any, x: Tensor) -> Tensor:
    states: dict[str, Tensor] = {}
    total: Tensor | None = None
    for x_t in x.unbind(0):
        out, states = net(x_t.contiguous(memory_format=torch.channels_last), states)
        total = out if total is None else total + out
    assert total is not None
    return total if len(x) == 1 else total / len(x)


class QuantisedNet(DenseNet):
    """The same with int8 products: counts as quint8 of scale 1, potentials that are added as quint8 of 1/16.

    For one timestep; a product whose only reader is a neuron gives counts at once.
    """

    STEP, ZERO = 1 / 16, 128

    def __init__(self, graph: SpikeGraph) -> None:
        super().__init__(graph)
        self.layers = {
            node.name: self._layer(node) for node in self.order if node.op in ("Conv", "Linear")
        }

    def _layer(self, node: Node) -> Any:
        weight, bias = self._weight(node, "weight"), self._weight(node, "bias")
        assert weight is not None
        quantised = torch.ao.nn.quantized
        if node.op == "Conv":
            (pad_y, _), (pad_x, _) = node.attrs["padding"]
            layer = quantised.Conv2d(
                weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), tuple(node.attrs["stride"]),
                (pad_y, pad_x),
            )  # fmt: skip
        else:
            layer = quantised.Linear(weight.shape[1], weight.shape[0])
        scales = (weight.flatten(1).abs().amax(1) / 127).double()
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        layer.set_weight_bias(
            torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8), bias
        )
        layer.scale, layer.zero_point = self._scale_after(node)
        return layer

    def _scale_after(self, node: Node) -> tuple[float, int]:
        if all(reader.op == "Neuron" for reader in self.graph.consumers(node.name)):
            return 1.0, 0
        return (0.25, 128) if node.op == "Linear" else (self.STEP, self.ZERO)

    def _conv(self, node: Node, x: Tensor) -> Tensor:
        return self.layers[node.name](x)

    def _linear(self, node: Node, x: Tensor) -> Tensor:
        return self.layers[node.name](x).dequantize()

    def _add(self, node: Node, a: Tensor, b: Tensor) -> Tensor:
        return torch.ops.quantized.add(a, b, self.STEP, self.ZERO)

    def _pool(self, node: Node, x: Tensor) -> Tensor:
        return nn_functional.adaptive_avg_pool2d(x, 1)

    def _fire(self, node: Node, x: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
        levels = float(node.attrs["levels"])
        if x.q_scale() == 1.0:
            counts = torch.clamp(x, 0.0, levels)
        else:
            potential = x.dequantize().clamp_(0.0, levels)
            counts = torch.quantize_per_tensor(potential, 1.0, 0, torch.quint8)
        return counts, counts


def dense_bytes(graph: SpikeGraph, engine: str) -> Pass:
    """Static int8 on one engine of torch."""
    with warnings.catch_warnings(), on(engine):
        warnings.simplefilter("ignore")  # eager quantisation is said to move
        net = QuantisedNet(graph).eval()

    def run(x: Tensor) -> Tensor:
        with on(engine):
            pixels = torch.quantize_per_tensor(
                x[0].contiguous(memory_format=torch.channels_last), 1 / 255, 0, torch.quint8
            )
            return net(pixels, {})[0]

    return run


@contextmanager
def on(engine: str) -> Any:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
