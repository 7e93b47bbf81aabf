"""Lowering rules of what moves values without computing: views, permutes, slices, padding, upsampling."""

from __future__ import annotations

import sys

from torch import fx

from synfire.export.lowering import LoweringContext, rule


def add_view(context: LoweringContext, node: fx.Node, source: str, shape: tuple[int, ...]) -> str:
    """A Reshape of the kind view."""
    return context.add(
        node,
        "Reshape",
        [source],
        shape=shape,
        attrs={"kind": "view", "shape": list(shape)},
        suffix="_view",
    )


@rule(
    "aten::view.default",
    "aten::reshape.default",
    "aten::_unsafe_view.default",
    "aten::flatten.using_ints",
    "aten::unflatten.int",
    "aten::squeeze.dim",
    "aten::squeeze.dims",
    "aten::unsqueeze.default",
)
def view(context: LoweringContext, node: fx.Node) -> str:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return add_view(context, node, context.input(source), context.shape(node))


@rule("aten::transpose.int", "aten::permute.default")
def permute(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    rank = len(context.shape(a["self"])) + 1
    axes = list(range(rank))
    if "dims" in a:
        axes = [axis % rank for axis in a["dims"]]
    else:
        i, j = a["dim0"] % rank, a["dim1"] % rank
        axes[i], axes[j] = axes[j], axes[i]
    if axes[0] != 0:
        context.refuse(node, "it moves the batch axis", "keep time and batch as the first axis")
    return context.add(
        node,
        "Reshape",
        [context.input(a["self"])],
        attrs={"kind": "permute", "axes": [axis - 1 for axis in axes[1:]]},
        suffix="_permute",
    )


@rule("aten::slice.Tensor")
def slice_(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    source = context.shape(a["self"])
    axis = a["dim"] % (len(source) + 1)
    if axis == 0 and not a["start"] and (a["end"] is None or a["end"] == sys.maxsize):
        return context.input(a["self"])  # x[:, ...] written out, as torch before 2.8 traces it
    if axis == 0 or a["step"] != 1:
        context.refuse(node, "a slice along the batch or with a step", "slice channels")
    size = source[axis - 1]
    start, stop = (
        min(max(v + size if v < 0 else v, 0), size)
        for v in (a["start"] or 0, size if a["end"] is None else a["end"])
    )
    return _add_slice(context, node, context.input(a["self"]), axis - 1, start, stop)


def _add_slice(
    context: LoweringContext, node: fx.Node, source: str, axis: int, start: int, stop: int
) -> str:
    attrs = {"kind": "slice", "axis": axis, "start": start, "stop": stop}
    return context.add(node, "Reshape", [source], attrs=attrs, suffix="_slice")


@rule("aten::chunk.default", "aten::split.Tensor", "aten::split_with_sizes.default")
def split(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    if a["dim"] % (len(context.shape(a["self"])) + 1) == 0:
        context.refuse(node, "a split along the batch", "split channels")
    return context.input(a["self"])  # its getitem users cut the pieces


@rule("getitem")
def getitem(context: LoweringContext, node: fx.Node) -> str:
    """One output of an operator with several: a piece of a split, or the spikes of a neuron."""
    owner, index = node.args
    assert isinstance(owner, fx.Node) and isinstance(index, int)
    if not any(word in str(owner.target) for word in ("chunk", "split")):
        if index != 0:
            context.refuse(
                node, "the state of a neuron is used as a value", "read it from a Stream"
            )
        return context.input(owner)
    axis = context.arguments(owner)["dim"] % (len(context.shape(node)) + 1)
    sizes = [int(piece.shape[axis]) for piece in owner.meta["val"]]
    start = sum(sizes[:index])
    return _add_slice(context, node, context.input(owner), axis - 1, start, start + sizes[index])


@rule("aten::pad.default", "aten::constant_pad_nd.default")
def pad(context: LoweringContext, node: fx.Node) -> str:
    a = context.arguments(node)
    if a.get("mode", "constant") != "constant" or a.get("value") not in (None, 0, 0.0):
        context.refuse(node, "padding with other values than zero", "pad with zeros")
    amounts = [int(p) for p in a["pad"]]
    pairs = [[amounts[i], amounts[i + 1]] for i in range(0, len(amounts), 2)][::-1]
    attrs = {"kind": "pad", "padding": pairs}
    return context.add(node, "Reshape", [context.input(a["self"])], attrs=attrs, suffix="_pad")


@rule(
    "aten::upsample_nearest1d.vec",
    "aten::upsample_nearest2d.vec",
    "aten::upsample_nearest1d.default",
    "aten::upsample_nearest2d.default",
)
def upsample(context: LoweringContext, node: fx.Node) -> str:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    before, after = context.shape(source)[1:], context.shape(node)[1:]
    if any(s % b for b, s in zip(before, after, strict=True)):
        context.refuse(node, f"upsampling from {before} to {after}", "use integer factors")
    factor = [s // b for b, s in zip(before, after, strict=True)]
    return context.add(node, "Upsample", [context.input(source)], attrs={"factor": factor})


@rule(
    "aten::contiguous.default",
    "aten::clone.default",
    "aten::detach.default",
    "aten::alias.default",
    "aten::dropout.default",
    "aten::dropout_.default",
    "aten::feature_dropout.default",
)
def identity(context: LoweringContext, node: fx.Node) -> str:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return context.input(source)
