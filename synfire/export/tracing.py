"""Tracing: any model to a SpikeGraph, through ``torch.export``, lowering rules and folding."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import synfire.export.torch_rules  # noqa: F401  (registers the rules)
from synfire.core.errors import GraphError, InputError, LoweringError, Problem
from synfire.core.time import Folded, TimeFolded
from synfire.core.tracing import tracing
from synfire.encoders import Direct
from synfire.export.folding import fold
from synfire.export.graph import Edge, Node, SpikeGraph
from synfire.export.lowering import LoweringContext
from synfire.export.rewriting import Draft

__all__ = ["as_folded", "trace"]


class _Steps(nn.Module):
    """What is exported: the folded net between encoder and readout."""

    def __init__(self, net: Folded) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_steps(x)


def trace(
    net: nn.Module, example: Tensor, *, merge_chains: bool = True, fold_weights: bool = True
) -> SpikeGraph:
    """Lower a net to a SpikeGraph.

    The net is traced in eval mode, from rest, between its encoder and its readout; the encoder is recorded in the
    Source, the readout becomes a node. BatchNorm, scales of counts and chains of linear layers are folded.

    Args:
        net: a :class:`synfire.core.time.Folded` container; any other module counts as T = 1 with direct encoding.
        example: an input that the net takes, [B, ...] or [T, B, ...]; only its shape and dtype matter.
        merge_chains: join convolutions that follow each other without a neuron (RepConv).
        fold_weights: run the folding passes at all (without them the graph mirrors the module operation by operation).

    Returns:
        The graph; its weights have the dtype of the net's parameters.

    Raises:
        LoweringError: parts of the net cannot be lowered; ``problems`` lists all of them.

    Example:
        >>> import synfire
        >>> net = synfire.create_model("spiking_cnn_tiny", num_classes=10)
        >>> graph = trace(net, torch.rand(2, 1, 8, 8))
        >>> graph.run(torch.rand(1, 3, 1, 8, 8)).shape, len(graph.neurons())
        (torch.Size([3, 10]), 9)
    """
    _refuse_non_finite(net)
    container = as_folded(copy.deepcopy(net)).cpu().eval()  # a device may limit the batch
    folded_example = _example(container, example)
    program = _export(container, folded_example)
    dtype = np.dtype(np.float64 if folded_example.dtype == torch.float64 else np.float32)
    prefix = "net" if isinstance(net, Folded) else "net.net"
    context = LoweringContext(container.timesteps, dtype, prefix)
    output = context.run(program)
    draft = Draft(context.nodes)
    _close(draft, output, container)
    if fold_weights:
        fold(draft, merge_chains)
    for node in draft:
        node.weights = {k: _cast(v, dtype) for k, v in node.weights.items()}
    return SpikeGraph(list(draft), container.timesteps, _meta(net, dtype))


def as_folded(net: nn.Module) -> Folded:
    """The net itself if it knows time, else the net as one of T = 1 with direct encoding."""
    return net if isinstance(net, Folded) else TimeFolded(net, 1, encoder=Direct())


def _refuse_non_finite(net: nn.Module) -> None:
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise GraphError(
                f"the net's tensor {name!r} holds NaN or infinite values: it cannot be traced."
            )


def _example(net: Folded, example: Tensor) -> Tensor:
    """A folded example with at least two samples, so that the batch stays dynamic."""
    if not isinstance(example, Tensor) or not example.is_floating_point():
        raise InputError("expected a floating-point tensor as example input.")
    parameter = next(net.parameters(), None)
    if parameter is not None:
        example = example.to(parameter.device, parameter.dtype)
    axis = 0 if net.is_static(example) else 1
    if example.ndim > axis and example.shape[axis] == 0:
        raise InputError("expected at least one sample as example input, got none.")
    if example.ndim > axis and example.shape[axis] == 1:
        example = torch.cat([example, example], axis)
    with tracing():
        return net.encode(example)


def _export(net: Folded, folded: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("B", min=1, max=1 << 30)
    axis = net.timesteps * batch if net.timesteps > 1 else batch
    try:
        with tracing(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch.export itself
            return torch.export.export(
                _Steps(net), (folded,), dynamic_shapes={"x": {0: axis}}, strict=False
            )
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        first = next(
            (line for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise LoweringError(
            [
                Problem(
                    "",
                    "torch.export",
                    f"the net cannot be captured ({first.strip()})",
                    "avoid branches on values and sizes taken from the batch",
                )
            ]
        ) from error


def _close(draft: Draft, output: str, net: Folded) -> None:
    """Append readout and Sink, and describe the encoder in the Source."""
    shape = draft.nodes[output].shape
    mean = Node(
        draft.free_name("readout"),
        "TimeMean",
        (output,),
        shape,
        Edge("potential"),
        "",
        {"kind": net.readout},
    )
    draft.nodes[mean.name] = mean
    sink = Node(
        draft.free_name("output"),
        "Sink",
        (mean.name,),
        shape,
        Edge("potential"),
        "",
        {"scale": 1.0},
    )
    draft.nodes[sink.name] = sink
    source = next(node for node in draft if node.op == "Source")
    describe = getattr(net.encoder, "describe", None)
    source.attrs["encoder"] = describe() if describe else None
    if getattr(net.encoder, "binary", False):
        source.edge = Edge("count", bits=1, low=0.0, high=1.0)


def _cast(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    return np.asarray(array, dtype, order="C") if array.dtype.kind == "f" else array


def _meta(net: nn.Module, dtype: np.dtype[Any]) -> dict[str, Any]:
    import synfire

    return {
        "model": getattr(net, "config", {"model": type(net).__name__}),
        "dtype": dtype.name,
        "versions": {"synfire": synfire.__version__, "torch": str(torch.__version__)},
    }
