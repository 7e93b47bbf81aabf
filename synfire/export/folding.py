"""Passes that bring a lowered net into deployable form: BatchNorm and scales folded, linear chains merged.

Every pass keeps the function that the graph computes, up to the rounding of its weights; arithmetic is in float64.
"""

from __future__ import annotations

import math

import numpy as np

from synfire.export.executors.numpy_backend import NumpyBackend
from synfire.export.graph import Edge, Node
from synfire.export.rewriting import Draft

_EXACT = NumpyBackend(np.dtype(np.float64))
_CARRIES_SCALE = ("Reshape", "Pool", "Upsample", "Delay", "Recurrence", "TimeMean")


def fold(draft: Draft, merge_chains: bool = True) -> None:
    """All passes in their order."""
    for node in draft:
        node.weights = {
            k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in node.weights.items()
        }
    hoist_scales(draft)
    cancel_permutes(draft)
    absorb_pads(draft)
    fold_scales_backward(draft)
    fold_scales_forward(draft)
    if merge_chains:
        merge_linear_chains(draft)
    fold_count_scales(draft)
    draft.drop_unread()
    type_edges(draft)


def hoist_scales(draft: Draft) -> None:
    """Move a Scale in front of the permute or unit view that feeds it, so that it meets its product."""
    moved = True
    while moved:
        moved = False
        for node in draft:
            if node.op != "Scale":
                continue
            before = draft.producer(node)
            if before.op != "Reshape" or draft.only_consumer(before.name) is not node:
                continue
            if before.attrs["kind"] == "permute":
                _swap_with_permute(draft, before, node)
                moved = True


def _swap_with_permute(draft: Draft, permute: Node, scale: Node) -> None:
    axes = permute.attrs["axes"]
    inverse = [axes.index(axis) for axis in range(len(axes))]
    rank = len(permute.shape)
    scale.weights = {
        key: value.reshape(*[1] * (rank - value.ndim), *value.shape).transpose(inverse)
        for key, value in scale.weights.items()
    }
    source = permute.inputs[0]
    for reader in draft.consumers(scale.name):
        reader.inputs = tuple(permute.name if n == scale.name else n for n in reader.inputs)
    scale.inputs, permute.inputs = (source,), (scale.name,)
    scale.shape = draft.nodes[source].shape
    order = list(draft.nodes.values())
    order.remove(scale)
    order.insert(order.index(permute), scale)
    draft.nodes = {node.name: node for node in order}


def cancel_permutes(draft: Draft) -> None:
    """Join a permute with the one it feeds alone; drop permutes that do nothing."""
    for node in draft:
        if node.name not in draft.nodes or not _is_reshape(node, "permute"):
            continue
        before = draft.producer(node)
        if _is_reshape(before, "permute") and draft.only_consumer(before.name) is node:
            node.attrs["axes"] = [before.attrs["axes"][axis] for axis in node.attrs["axes"]]
            draft.bypass(before)
        if node.attrs["axes"] == sorted(node.attrs["axes"]):
            draft.bypass(node)


def _is_reshape(node: Node, kind: str) -> bool:
    return node.op == "Reshape" and node.attrs["kind"] == kind


def absorb_pads(draft: Draft) -> None:
    """Zero padding joins the convolution after it, or a bias-free 1x1 convolution before it (RepConv chains)."""
    for node in draft:
        if not _is_reshape(node, "pad"):
            continue
        after, before = draft.only_consumer(node.name), draft.producer(node)
        pairs = node.attrs["padding"]
        if after is not None and after.op == "Conv" and _spatial_only(pairs, after):
            _add_padding(after, pairs)
            draft.bypass(node)
        elif (
            before.op == "Conv"
            and draft.only_consumer(before.name) is node
            and _is_pointwise(before)
            and "bias" not in before.weights
            and _spatial_only(pairs, before)
        ):
            _add_padding(before, pairs)
            before.shape = node.shape
            draft.bypass(node)


def _spatial_only(pairs: list[list[int]], conv: Node) -> bool:
    rank = len(conv.attrs["stride"])
    return not any(map(any, pairs[:-rank])) and all(min(pair) >= 0 for pair in pairs)


def _add_padding(conv: Node, pairs: list[list[int]]) -> None:
    rank = len(conv.attrs["stride"])
    pairs = [[0, 0]] * (rank - len(pairs)) + pairs[-rank:]
    conv.attrs["padding"] = [
        [a + c, b + d] for (a, b), (c, d) in zip(conv.attrs["padding"], pairs, strict=True)
    ]


def _is_pointwise(conv: Node) -> bool:
    return math.prod(conv.weights["weight"].shape[2:]) == 1 and set(conv.attrs["stride"]) == {1}


def fold_scales_backward(draft: Draft) -> None:
    """A Scale after a Conv or Linear that feeds it alone becomes part of its weights."""
    for node in draft:
        if node.op != "Scale":
            continue
        before = draft.producer(node)
        if before.op not in ("Conv", "Linear") or draft.only_consumer(before.name) is not node:
            continue
        scale, shift = node.weights["scale"], node.weights.get("shift")
        per_output = _per_channel(scale, before)
        if per_output is None or (shift is not None and _per_channel(shift, before) is None):
            continue
        weight = before.weights["weight"]
        before.weights["weight"] = weight * per_output.reshape(-1, *[1] * (weight.ndim - 1))
        bias = before.weights.get("bias")
        total = shift if bias is None else bias * scale + (0 if shift is None else shift)
        if total is not None:
            before.weights["bias"] = np.asarray(total)
        draft.bypass(node)


def _per_channel(values: np.ndarray, product: Node) -> np.ndarray | None:
    """One value for each output channel of a product, or None if ``values`` varies along other axes."""
    axis = -1 if product.op == "Linear" else -len(product.attrs["stride"]) - 1
    channels = product.weights["weight"].shape[0]
    rank = len(product.shape)
    full = values.reshape(*[1] * (rank - values.ndim), *values.shape)
    if values.size not in (1, full.shape[axis]):
        return None
    return np.broadcast_to(full.reshape(-1), (channels,)) if full.size in (1, channels) else None


def fold_scales_forward(draft: Draft) -> None:
    """A Scale whose readers are all Conv or Linear goes into their weights; its shift into their bias.

    Before a padded convolution the shift meets fewer taps at the border, so the bias varies over positions.
    """
    for node in draft:
        if node.op != "Scale":
            continue
        readers = draft.consumers(node.name)
        if not readers or not all(reader.op in ("Conv", "Linear") for reader in readers):
            continue
        if not all(_input_channels(node, reader) for reader in readers):
            continue
        for reader in readers:
            _fold_into(node, reader)
        draft.bypass(node)


def _input_channels(scale: Node, reader: Node) -> bool:
    axis = len(scale.shape) - (1 if reader.op == "Linear" else len(reader.attrs["stride"]) + 1)
    value = scale.weights["scale"]
    full = value.reshape(*[1] * (len(scale.shape) - value.ndim), *value.shape)
    return all(size == 1 for i, size in enumerate(full.shape) if i != axis)


def _fold_into(scale: Node, reader: Node) -> None:
    weight = reader.weights["weight"]
    if "shift" in scale.weights:
        constant = np.broadcast_to(scale.weights["shift"], scale.shape)[None].astype(np.float64)
        if reader.op == "Linear":
            extra = _EXACT.linear(constant, weight)[0]
            extra = extra.reshape(-1, extra.shape[-1])
            extra = extra[0] if (extra == extra[0]).all() else extra.reshape(reader.shape)
        else:
            extra = _EXACT.conv(constant, weight, **reader.attrs)[0]
            extra = _collapse(extra)
        reader.weights["bias"] = extra + reader.weights.get("bias", 0)
    per_input = np.broadcast_to(
        scale.weights["scale"].reshape(-1),
        (weight.shape[1] * reader.attrs.get("groups", 1),),
    )
    if reader.op == "Linear":
        reader.weights["weight"] = weight * per_input
        return
    groups = reader.attrs["groups"]
    by_group = per_input.reshape(groups, 1, weight.shape[1])
    split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    reader.weights["weight"] = (split * by_group[..., None]).reshape(weight.shape)


def _collapse(bias: np.ndarray) -> np.ndarray:
    """One value a channel if a map of biases is the same everywhere."""
    flat = bias.reshape(bias.shape[0], -1)
    if (flat == flat[:, :1]).all():
        return flat[:, 0].reshape(-1, *[1] * (bias.ndim - 1))
    return bias


def merge_linear_chains(draft: Draft) -> None:
    """Two convolutions with nothing between them become one, where that is exact (RepConv in its deployed form).

    It is exact if the second has no padding, or the first is pointwise without bias and padding; the first must have
    stride 1 and the two no dilation. Chains of Linear merge always.
    """
    merged = True
    while merged:
        merged = False
        for second in draft:
            if second.op not in ("Conv", "Linear"):
                continue
            first = draft.producer(second)
            if first.op != second.op or draft.only_consumer(first.name) is not second:
                continue
            if first.op == "Linear":
                _merge_linears(first, second)
            elif _mergeable(first, second):
                _merge_convolutions(first, second)
            else:
                continue
            draft.bypass(first)
            merged = True


def _mergeable(first: Node, second: Node) -> bool:
    if {*first.attrs["stride"], *first.attrs["dilation"], *second.attrs["dilation"]} != {1}:
        return False
    unpadded = not any(map(any, second.attrs["padding"]))
    bare = (
        _is_pointwise(first)
        and "bias" not in first.weights
        and not any(map(any, first.attrs["padding"]))
    )
    return unpadded or bare


def _merge_linears(first: Node, second: Node) -> None:
    if "bias" in first.weights:
        moved = first.weights["bias"] @ second.weights["weight"].T
        second.weights["bias"] = moved + second.weights.get("bias", 0)
    second.weights["weight"] = second.weights["weight"] @ first.weights["weight"]


def _merge_convolutions(first: Node, second: Node) -> None:
    outer, inner = _ungrouped(second), _ungrouped(first)
    if "bias" in first.weights:
        constant = np.broadcast_to(first.weights["bias"], first.shape)[None]
        moved = _collapse(_EXACT.conv(constant, second.weights["weight"], **second.attrs)[0])
        second.weights["bias"] = moved + second.weights.get("bias", 0)
    # Composition: correlate the outer kernel with the flipped inner one, over all overlaps.
    flipped = np.flip(inner, tuple(range(2, inner.ndim))).swapaxes(0, 1)
    rank = inner.ndim - 2
    overlap = [[k - 1, k - 1] for k in inner.shape[2:]]
    second.weights["weight"] = _EXACT.conv(outer, flipped, [1] * rank, overlap, [1] * rank, 1)
    second.attrs["groups"] = 1
    second.attrs["padding"] = [
        [a + c, b + d]
        for (a, b), (c, d) in zip(first.attrs["padding"], second.attrs["padding"], strict=True)
    ]


def _ungrouped(conv: Node) -> np.ndarray:
    """The kernel with zeros where groups keep channels apart."""
    weight, groups = conv.weights["weight"], conv.attrs["groups"]
    if groups == 1:
        return weight
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    full = np.zeros((weight.shape[0], inputs * groups, *weight.shape[2:]))
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        full[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return full


def fold_count_scales(draft: Draft) -> None:
    """Let counts travel as integers: what a count is worth moves into the weights that read it.

    Average pooling of counts becomes a sum whose divisor moves on in the same way.
    """
    worth: dict[str, float] = {n.name: float(n.attrs["scale"]) for n in draft if n.op == "Neuron"}
    for node in draft:
        scales = [worth.get(name, 1.0) for name in node.inputs]
        if node.op == "Recurrence":
            worth[node.name] = worth.get(node.inputs[0], 1.0)
        elif node.op == "Neuron":
            if scales[0] != 1.0:
                _rescale_input(draft, node, 0, scales[0])
        elif node.op in ("Conv", "Linear", "SparseConv"):
            node.weights["weight"] = node.weights["weight"] * scales[0]
        elif node.op == "Scale":
            node.weights["scale"] = node.weights["scale"] * scales[0]
        elif node.op == "SpikeAttention":
            node.attrs["scale"] = node.attrs["scale"] * math.prod(scales)
        elif node.op == "Sink":
            node.attrs["scale"] = node.attrs["scale"] * scales[0]
        elif node.op in _CARRIES_SCALE:
            worth[node.name] = scales[0] * _sum_instead_of_average(draft, node)
        elif node.op in ("Add", "Concat") and len(set(scales)) == 1:
            worth[node.name] = scales[0]
        else:
            for index, scale in enumerate(scales):
                if scale != 1.0:
                    _rescale_input(draft, node, index, scale)


def _sum_instead_of_average(draft: Draft, node: Node) -> float:
    """Turn average pooling of counts into summing; returns the factor that is left to fold."""
    if node.op != "Pool" or node.attrs["kind"] != "avg" or not _sends_counts(draft, node.inputs[0]):
        return 1.0
    divisor = float(node.attrs["divisor"])
    node.attrs.update(kind="sum", divisor=None)
    return 1.0 / divisor


def _rescale_input(draft: Draft, node: Node, index: int, scale: float) -> None:
    source = draft.nodes[node.inputs[index]]
    extra = Node(
        draft.free_name(f"{source.name}_worth"), "Scale", (source.name,), source.shape, Edge("potential"),
        node.path, {}, {"scale": np.asarray(scale)},
    )  # fmt: skip
    draft.insert_before(node, index, extra)


def _sends_counts(draft: Draft, name: str) -> bool:
    node = draft.nodes[name]
    if node.op in ("Neuron", "Source"):
        return node.op == "Neuron" or node.edge.kind == "count"
    if node.op in (*_CARRIES_SCALE, "Add", "Concat"):
        if node.op == "Pool" and node.attrs["kind"] == "avg":
            return False
        return all(_sends_counts(draft, source) for source in node.inputs)
    return False


def type_edges(draft: Draft) -> None:
    """Say of each edge whether it carries counts (with their bound and width), potentials or reals."""
    highest: dict[str, float] = {}
    for node in draft:
        if node.op == "Neuron":
            highest[node.name] = node.attrs["levels"]
            node.edge = _count_edge(node.attrs["levels"], node.attrs["scale"])
        elif node.op in (*_CARRIES_SCALE, "Add", "Concat") and _sends_counts(draft, node.name):
            bounds = [
                highest.get(name, float(draft.nodes[name].edge.high or 0)) for name in node.inputs
            ]
            bound = sum(bounds) if node.op == "Add" else max(bounds)
            if node.op == "Pool" and node.attrs["kind"] == "sum":
                bound *= math.prod(node.attrs["kernel"])
            highest[node.name] = bound
            node.edge = _count_edge(bound, 1.0)


def _count_edge(bound: float, scale: float) -> Edge:
    return Edge("count", scale, math.ceil(math.log2(bound + 1)) if bound else 32, 0.0, bound)
