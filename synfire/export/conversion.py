"""Turning a trained ReLU net into one with integer neurons, by calibration."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as nn_functional
from torch import Tensor, fx, nn

from synfire.core.errors import ConfigError, InputError
from synfire.core.time import TimeFolded
from synfire.encoders import Direct
from synfire.neurons import IntegerLIF

_RELU_FUNCTIONS = {nn_functional.relu, torch.relu, torch.relu_, nn_functional.relu_}
_RELU_METHODS = {"relu", "relu_"}
_OTHER_NAMES = (
    *("celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu"),
    *("log_softmax", "mish", "prelu", "relu6", "rrelu", "selu", "sigmoid", "silu"),
    *("softmax", "softmin", "softplus", "softsign", "tanh"),
)
_OTHER_FUNCTIONS = {
    getattr(namespace, name)
    for namespace in (torch, nn_functional)
    for name in _OTHER_NAMES
    if hasattr(namespace, name)
}
_OTHER_METHODS = {"sigmoid", "softmax", "tanh", "log_softmax", "clamp", "clamp_"}
_KEPT = 1 << 16
"""Values that an observer keeps of one activation."""


@dataclass(frozen=True)
class Converted:
    """One ReLU call that became a neuron: where, the membrane worth one count, and the share of values clipped."""

    path: str
    neuron: str
    threshold: float
    clipped: float


@dataclass
class Conversion:
    """What :func:`convert_activations` did; ``left`` lists activations that it did not touch."""

    converted: list[Converted] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [
            f"  {c.path} -> {c.neuron}: one count = {c.threshold:.4g}, {c.clipped:.2%} clipped"
            for c in self.converted
        ]
        left = (
            "\n".join(["left as they are:", *(f"  {name}" for name in self.left)])
            if self.left
            else "nothing left"
        )
        return "\n".join([f"{len(self.converted)} ReLU calls became integer neurons:", *rows, left])


def convert_activations(
    model: nn.Module,
    example: Tensor,
    levels: int = 4,
    calibration: Tensor | Iterable[Any] | None = None,
    percentile: float | None = None,
    timesteps: int = 1,
) -> TimeFolded:
    """A copy of a trained net with every ReLU call replaced by an :class:`IntegerLIF` of calibrated scale.

    A count is worth ``threshold``, so the neuron is ReLU rounded to ``levels`` steps and clipped:
    threshold * round(clip(x / threshold, 0, levels)). Modules used several times get a neuron for each call. The
    weights are untouched; fine-tuning regains most of what rounding loses.

    Args:
        model: a net that ``torch.fx`` can trace; copied.
        example: an input [B, ...], checked before and after.
        levels: D.
        calibration: inputs to set the scales with: a tensor, or batches (a DataLoader; of tuples the first entry
            counts). Default: the example.
        percentile: of the positive activations, at which the largest count lies; None: the scale of least squared
            rounding error.
        timesteps: T of the neurons; the input is repeated, the outputs averaged.

    Returns:
        A :class:`TimeFolded` net in eval mode; ``net.conversion`` says what was converted and what was left.

    Example:
        >>> relu_net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Tanh())
        >>> net = convert_activations(relu_net, torch.rand(16, 4), levels=8)
        >>> len(net.conversion.converted), net.conversion.left
        (1, ['3: Tanh'])
    """
    if percentile is not None and not 0 < percentile <= 100:
        raise ConfigError(f"percentile must lie in (0, 100], got {percentile}.")
    if levels < 1:
        raise ConfigError(f"levels must be at least 1, got {levels}.")
    graph_module = _traced(model)
    sites, left = _find_sites(graph_module)
    if not sites:
        raise ConfigError("the model has no ReLU call to convert.")
    observers = _observe(graph_module, sites, example if calibration is None else calibration)
    conversion = Conversion(left=left)
    for index, (site, observer) in enumerate(zip(sites, observers, strict=True)):
        threshold, clipped = observer.choose(levels, percentile)
        name = f"neuron_{index}"
        neuron = IntegerLIF(levels, timesteps, decay=1.0, threshold=threshold, scale=threshold)
        graph_module.add_submodule(name, neuron)
        _replace(graph_module, site, name)
        conversion.converted.append(Converted(_site_path(site), name, threshold, clipped))
    graph_module.graph.lint()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    net = TimeFolded(graph_module, timesteps, encoder=Direct(), readout="mean").eval()
    net.conversion = conversion  # type: ignore[assignment]
    with torch.no_grad():
        net(example)
    return net


def _traced(model: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(copy.deepcopy(model).eval())
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"torch.fx cannot trace the model ({str(error).splitlines()[0]}): "
            "take branches on tensor values out of its forward."
        ) from error


def _find_sites(module: fx.GraphModule) -> tuple[list[fx.Node], list[str]]:
    sites, left = [], []
    for node in module.graph.nodes:
        if _is_relu(module, node):
            sites.append(node)
        elif node.op == "call_module":
            kind = type(module.get_submodule(str(node.target)))
            if kind.__module__ == nn.ReLU.__module__:
                left.append(f"{node.target}: {kind.__name__}")
        elif node.op == "call_function" and node.target in _OTHER_FUNCTIONS:
            left.append(f"{_site_path(node)}: {getattr(node.target, '__name__', node.target)}")
        elif node.op == "call_method" and node.target in _OTHER_METHODS:
            left.append(f"{_site_path(node)}: {node.target}")
    return sites, left


def _is_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))) is nn.ReLU
    if node.op == "call_function":
        return node.target in _RELU_FUNCTIONS
    return node.op == "call_method" and node.target in _RELU_METHODS


def _site_path(node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target)
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    owner = f"{stack[-1][0]}." if stack and stack[-1][0] else ""
    return f"{owner}{node.name}"


def _replace(module: fx.GraphModule, site: fx.Node, name: str) -> None:
    with module.graph.inserting_after(site):
        call = module.graph.call_module(name, (site.args[0],))
    site.replace_all_uses_with(call)
    module.graph.erase_node(site)


class _Observer(nn.Module):
    """Passes its input on and keeps a sample of the positive values."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        values = x.detach().flatten()
        values = values[values > 0].cpu().float()
        if values.numel() > _KEPT:
            values = values[torch.randint(values.numel(), (_KEPT,), generator=self.generator)]
        self.kept.append(values)
        return x.clamp(min=0)

    def choose(self, levels: int, percentile: float | None) -> tuple[float, float]:
        """The membrane worth one count, and the share of positive values beyond the largest count."""
        values = torch.cat(self.kept).sort().values if self.kept else torch.empty(0)
        if not values.numel():
            return 1.0, 0.0  # never active: any scale will do
        if percentile is not None:
            place = min(int(percentile / 100 * values.numel()), values.numel() - 1)
            top = float(values[place])
        else:
            top = _least_squares_top(values, levels)
        return top / levels, float((values > top).float().mean())


def _least_squares_top(values: Tensor, levels: int) -> float:
    """Where to clip so that rounding and clipping together cost least."""
    sample = values[:: max(1, values.numel() // 8192)]
    largest = float(values[-1])
    tops = torch.linspace(largest / 40, largest, 40).unsqueeze(1)
    steps = tops / levels
    rounded = (sample / steps).clamp(0, levels).add(0.5).floor() * steps
    errors = (rounded - sample).square().mean(1)
    return float(tops[int(errors.argmin()), 0])


def _observe(
    module: fx.GraphModule, sites: list[fx.Node], calibration: Tensor | Iterable[Any]
) -> list[_Observer]:
    """Run the calibration inputs through a copy of the net with an observer in the place of each ReLU call."""
    watched = copy.deepcopy(module)
    by_name = {node.name: node for node in watched.graph.nodes}
    observers = []
    for index, site in enumerate(sites):
        observer = _Observer()
        watched.add_submodule(f"observer_{index}", observer)
        _replace(watched, by_name[site.name], f"observer_{index}")
        observers.append(observer)
    watched.recompile()
    batches = [calibration] if isinstance(calibration, Tensor) else calibration
    seen = 0
    with torch.no_grad():
        for batch in batches:
            x = batch[0] if isinstance(batch, (tuple, list)) else batch
            watched(x)
            seen += 1
    if not seen:
        raise InputError("expected at least one batch of calibration inputs, got none.")
    return observers
