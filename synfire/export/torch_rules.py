"""Lowering rules of torch's arithmetic: products, sums, norms, pools, activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import fx

from synfire.export.lowering import LoweringContext, rule
from synfire.export.shape_rules import add_view


def _spatial(value: Any, rank: int) -> list[int]:
    """An int or list argument of a convolution or pool as one value an axis."""
    values = [value] if isinstance(value, int) else list(value)
    return [int(v) for v in (values * rank if len(values) == 1 else values)]


def _symmetric(padding: list[int]) -> list[list[int]]:
    return [[p, p] for p in padding]


@rule("aten::conv1d.default", "aten::conv2d.default", "aten::conv3d.default")
def convolution(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    rank = len(context.shape(node)) - 1
    return _add_convolution(context, node, a, _symmetric(_spatial(a["padding"], rank)), rank)


@rule("aten::conv1d.padding", "aten::conv2d.padding", "aten::conv3d.padding")
def convolution_named_padding(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    rank = len(context.shape(node)) - 1
    if a["padding"] == "valid":
        return _add_convolution(context, node, a, [[0, 0]] * rank, rank)
    taps = a["weight"].meta["val"].shape[2:]
    reach = [d * (int(k) - 1) for d, k in zip(_spatial(a["dilation"], rank), taps, strict=True)]
    return _add_convolution(context, node, a, [[r // 2, r - r // 2] for r in reach], rank)


def _add_convolution(
    context: LoweringContext, node: fx.Node, a: dict[str, Any], padding: list[list[int]], rank: int
) -> str:
    _need_constant(context, node, a["weight"], a["bias"])
    return context.add(
        node,
        "Conv",
        [context.input(a["input"])],
        attrs={
            "stride": _spatial(a["stride"], rank),
            "padding": padding,
            "dilation": _spatial(a["dilation"], rank),
            "groups": int(a["groups"]),
        },
        weights={
            "weight": context.constant(a["weight"]),
            "bias": _channels(context.constant(a["bias"]), rank),
        },
    )


def _channels(values: np.ndarray | None, rank: int) -> np.ndarray | None:
    """One value a channel, in the shape that broadcasts against a sample with ``rank`` spatial axes."""
    return None if values is None else values.reshape(-1, *[1] * rank)


def _need_constant(context: LoweringContext, node: fx.Node, *values: Any) -> None:
    if not all(context.is_constant(value) for value in values):
        context.refuse(
            node,
            "its weights depend on the input",
            "use fixed weights, or spike_attention for products of spikes",
        )


@rule("aten::linear.default")
def linear(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    _need_constant(context, node, a["weight"], a["bias"])
    weights = {"weight": context.constant(a["weight"]), "bias": context.constant(a["bias"])}
    return context.add(node, "Linear", [context.input(a["input"])], weights=weights)


@rule("aten::batch_norm.default")
def batch_norm(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    if a["training"]:
        context.refuse(node, "BatchNorm in training mode", "trace the net in eval mode")
    rank = len(context.shape(node)) - 1
    mean, variance, weight, bias = (
        np.asarray(default if a[key] is None else context.constant(a[key]), np.float64)
        for key, default in (("running_mean", 0), ("running_var", 1), ("weight", 1), ("bias", 0))
    )
    scale = weight / np.sqrt(variance + a["eps"])
    shift = bias - mean * scale
    weights = {"scale": _channels(scale, rank), "shift": _channels(shift, rank)}
    return context.add(node, "Scale", [context.input(a["input"])], weights=weights)


@rule("aten::add.Tensor", "aten::add_.Tensor")
def add(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    first, second = a["input" if "input" in a else "self"], a["other"]
    if a["alpha"] != 1:
        context.refuse(node, f"a sum with alpha={a['alpha']}", "scale one side first")
    if context.is_constant(first):
        first, second = second, first
    if context.is_constant(second):
        shift = _broadcast(context, node, second)
        one = np.ones((1,) * shift.ndim, shift.dtype)
        return context.add(
            node, "Scale", [context.input(first)], weights={"scale": one, "shift": shift}
        )
    return context.add(node, "Add", [context.input(first), context.input(second)])


@rule("aten::mul.Tensor", "aten::mul_.Tensor", "aten::div.Tensor", "aten::div_.Tensor")
def multiply(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    first, second = a["self"], a["other"]
    divides = "div" in str(node.target)
    if context.is_constant(first) and not divides:
        first, second = second, first
    if context.is_constant(second):
        factor = _broadcast(context, node, second)
        return context.add(
            node,
            "Scale",
            [context.input(first)],
            weights={"scale": 1 / factor if divides else factor},
        )
    if divides:
        context.refuse(node, "a quotient of two values", "divide by a constant")
    return context.add(node, "Gate", [context.input(first), context.input(second)], kind="real")


def _broadcast(context: LoweringContext, node: fx.Node, value: Any) -> np.ndarray:
    """A constant as an array with as many axes as one sample."""
    array = context.constant(value)
    assert array is not None
    array = array.astype(np.float64)
    rank = len(context.shape(node))
    if array.ndim > rank:
        if array.shape[0] != 1 or array.ndim > rank + 1:
            context.refuse(
                node,
                f"a constant of shape {array.shape} spans the batch",
                "give it the shape of one sample",
            )
        array = array[0]
    return array.reshape(*[1] * (rank - array.ndim), *array.shape)


@rule("aten::cat.default")
def concat(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    axis = a["dim"] % (len(context.shape(node)) + 1)
    if axis == 0:
        context.refuse(node, "a concatenation along the batch", "concatenate channels")
    return context.add(
        node, "Concat", [context.input(n) for n in a["tensors"]], attrs={"axis": axis - 1}
    )


@rule("aten::avg_pool1d.default", "aten::avg_pool2d.default", "aten::avg_pool3d.default")
def avg_pool(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    rank = len(context.shape(node)) - 1
    kernel = _spatial(a["kernel_size"], rank)
    padding = _spatial(a["padding"], rank)
    if a["ceil_mode"] or (any(padding) and not a["count_include_pad"]):
        context.refuse(
            node,
            "average pooling with a divisor that varies at the border",
            "use ceil_mode=False, no padding",
        )
    divisor = a.get("divisor_override") or math.prod(kernel)
    return _add_pool(context, node, a["self"], "avg", kernel, a["stride"], padding, float(divisor))


@rule("aten::max_pool1d.default", "aten::max_pool2d.default", "aten::max_pool3d.default")
def max_pool(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    rank = len(context.shape(node)) - 1
    if a["ceil_mode"] or set(_spatial(a["dilation"], rank)) != {1}:
        context.refuse(node, "max pooling with ceil_mode or dilation", "use neither")
    kernel, padding = _spatial(a["kernel_size"], rank), _spatial(a["padding"], rank)
    return _add_pool(context, node, a["self"], "max", kernel, a["stride"], padding, None)


def _add_pool(
    context: LoweringContext,
    node: fx.Node,
    source: fx.Node,
    kind: str,
    kernel: list[int],
    stride: Any,
    padding: list[int],
    divisor: float | None,
) -> str:
    attrs = {
        "kind": kind,
        "kernel": kernel,
        "stride": _spatial(stride, len(kernel)) if stride else kernel,
        "padding": _symmetric(padding),
        "divisor": divisor,
    }
    return context.add(node, "Pool", [context.input(source)], attrs=attrs)


@rule("aten::adaptive_avg_pool1d.default", "aten::adaptive_avg_pool2d.default")
def adaptive_avg_pool(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    before, after = context.shape(a["self"])[1:], context.shape(node)[1:]
    if any(b % s for b, s in zip(before, after, strict=True)):
        context.refuse(
            node,
            f"adaptive pooling from {before} to {after}",
            "pool to sizes that divide the input",
        )
    kernel = [b // s for b, s in zip(before, after, strict=True)]
    return _add_pool(
        context, node, a["self"], "avg", kernel, kernel, [0] * len(kernel), float(math.prod(kernel))
    )


@rule("aten::mean.dim")
def mean(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    source = context.shape(a["self"])
    axes = sorted(axis % (len(source) + 1) for axis in a["dim"])
    if axes and axes == list(range(2, len(source) + 1)):
        pooled = _mean_pool(context, node, context.input(a["self"]), source)
    elif axes == [1] and len(source) == 2:  # tokens [N, C]: pool them as positions
        turned = context.add(
            node, "Reshape", [context.input(a["self"])], shape=source[::-1], suffix="_turn",
            attrs={"kind": "permute", "axes": [1, 0]},
        )  # fmt: skip
        pooled = _mean_pool(context, node, turned, source[::-1])
    else:
        context.refuse(
            node, f"a mean over axes {a['dim']} of [B, {source}]", "average over all positions"
        )
    return add_view(context, node, pooled, context.shape(node))


def _mean_pool(context: LoweringContext, node: fx.Node, source: str, shape: tuple[int, ...]) -> str:
    kernel = list(shape[1:])
    attrs = {
        "kind": "avg", "kernel": kernel, "stride": kernel, "padding": [[0, 0]] * len(kernel),
        "divisor": float(math.prod(kernel)),
    }  # fmt: skip
    pooled = (shape[0], *[1] * len(kernel))
    return context.add(node, "Pool", [source], shape=pooled, attrs=attrs, suffix="_pool")


def _activation(kind: str) -> Any:
    def lower(context: LoweringContext, node: fx.Node) -> str:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        return context.add(
            node, "Activation", [context.input(source)], attrs={"kind": kind}, kind="real"
        )

    return lower


for _kind in ("relu", "gelu", "sigmoid", "silu", "tanh"):
    rule(f"aten::{_kind}.default", f"aten::{_kind}_.default")(_activation(_kind))


@rule("aten::softmax.int")
def softmax(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    axis = a["dim"] % (len(context.shape(node)) + 1) - 1
    return context.add(
        node, "Softmax", [context.input(a["self"])], attrs={"axis": axis}, kind="real"
    )


@rule("aten::layer_norm.default")
def layer_norm(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    attrs = {"axes": len(a["normalized_shape"]), "epsilon": float(a["eps"])}
    weights = {"weight": context.constant(a["weight"]), "bias": context.constant(a["bias"])}
    return context.add(
        node, "Norm", [context.input(a["input"])], attrs=attrs, weights=weights, kind="real"
    )


@rule("aten::matmul.default")
def matmul(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    if context.is_constant(a["self"]) or context.is_constant(a["other"]):
        context.refuse(node, "a product with a bare parameter", "use nn.Linear")
    return context.add(
        node, "MatMul", [context.input(a["self"]), context.input(a["other"])], kind="real"
    )
