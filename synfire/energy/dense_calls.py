"""The products of a module: it runs on tensors without values, and what it calls is written down."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from synfire.core.tracing import tracing
from synfire.energy.dense import DenseLayer, attention_layer
from synfire.export.tracing import as_folded


def products(net: nn.Module, example: Tensor) -> list[DenseLayer]:
    """Convolutions, matrix products and spike attentions of one sample at one timestep, in order of execution."""
    container = as_folded(net)
    axis = 0 if container.is_static(example) else 1
    shape = list(example.shape)
    shape[axis] = 1
    parameter = next(net.parameters(), example)
    with (
        torch.no_grad(),
        tracing(),
        _evaluating(net),
        FakeTensorMode(allow_non_fake_inputs=True),
        _Calls(net) as calls,
    ):
        container(torch.empty(shape, dtype=parameter.dtype, device=parameter.device))
    steps = container.timesteps
    return [
        DenseLayer(layer.path, layer.kind, layer.macs // steps, layer.quadratic // steps)
        for layer in calls.layers
    ]


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class _Calls(TorchDispatchMode):
    """Writes down products and the path of the module that calls each."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.layers: list[DenseLayer] = []
        self._running = [""]
        self._hooks = [hook for named in net.named_modules() for hook in self._follow(*named)]

    def _follow(self, path: str, module: nn.Module) -> Iterator[Any]:
        def enter(*_: Any) -> None:
            self._running.append(path)

        def leave(*_: Any) -> None:
            self._running.pop()

        yield module.register_forward_pre_hook(enter)
        yield module.register_forward_hook(leave)

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        path, name = self._running[-1], func.name().partition(".")[0]
        if name == "synfire::spike_attention":
            self.layers.append(attention_layer(path, args[0].shape, args[2].shape))
        elif name == "aten::convolution":
            self.layers.append(DenseLayer(path, "conv", _convolution(args, out)))
        elif name in ("aten::mm", "aten::addmm", "aten::bmm"):
            left = args[1] if name == "aten::addmm" else args[0]
            self.layers.append(DenseLayer(path, "linear", out.numel() * left.shape[-1]))
        return out


def _convolution(args: Any, out: Tensor) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    positions = x if transposed else out
    return int(weight.numel() * positions.shape[0] * math.prod(positions.shape[2:]))
