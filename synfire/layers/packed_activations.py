"""Training with less memory: what consumes spikes keeps their counts for its gradient, not a float tensor."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from synfire.core.emission import listening
from synfire.core.neuron import Neuron
from synfire.kernels.spike_product import spike_conv2d, spike_linear
from synfire.kernels.spike_product.counts import pack, packable, unpack


class _Record:
    """The packed counts of one emitted tensor, shared by all who saved it or a view of it."""

    def __init__(self, emitted: _Emitted, values: Tensor) -> None:
        self.emitted = emitted
        self.packed = pack(values, emitted.levels, emitted.scale)

    def restore(self) -> Tensor:
        """All elements in memory order."""
        emitted = self.emitted
        return unpack(self.packed, emitted.levels, emitted.scale, emitted.elements, emitted.dtype)


@dataclass
class _Emitted:
    """One output of a neuron, known by its memory.

    ``memory`` is a weak reference: it keeps no value alive, but as long as it exists its address is not given to
    another tensor, so that a freed output is never mistaken for a new one.
    """

    memory: StorageWeakRef
    version: int
    elements: int
    dtype: torch.dtype
    levels: int
    scale: float
    record: weakref.ref[_Record] | None = None

    def still_is(self, tensor: Tensor) -> bool:
        """Whether ``tensor``, which lies in this memory, has the values that the neuron wrote."""
        return tensor.dtype == self.dtype and tensor._version == self.version


@dataclass(frozen=True)
class _Saved:
    """What the graph holds in place of a float tensor: a record, and where in it the tensor lies."""

    record: _Record
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def restore(self) -> Tensor:
        return self.record.restore().as_strided(self.shape, self.strides, self.offset)


class _Emissions:
    """The outputs of neurons that may still be saved by somebody."""

    def __init__(self) -> None:
        self._known: dict[int, _Emitted] = {}
        self._sweep_at = 64

    def hear(self, out: Tensor, levels: int, scale: float) -> None:
        """Remember an output of a neuron."""
        if out.is_inference() or not packable(out.dtype, levels, scale):
            return
        storage = out.untyped_storage()
        if storage.nbytes() != out.nbytes:  # a part of something larger
            return
        self._sweep()
        self._known[storage._cdata] = _Emitted(
            StorageWeakRef(storage), out._version, out.numel(), out.dtype, levels, scale
        )

    def _sweep(self) -> None:
        """Forget outputs that are gone, now and then."""
        if len(self._known) >= self._sweep_at:
            self._known = {
                key: known for key, known in self._known.items() if not known.memory.expired()
            }
            self._sweep_at = 2 * max(32, len(self._known))

    def pack(self, tensor: Tensor) -> Tensor | _Saved:
        """What the graph keeps of ``tensor``: itself, or the packed counts of the neuron that wrote it."""
        if tensor.layout != torch.strided or not tensor.numel():
            return tensor
        emitted = self._known.get(tensor.untyped_storage()._cdata)
        if emitted is None or not emitted.still_is(tensor):
            return tensor
        record = emitted.record() if emitted.record is not None else None
        if record is None:
            values = tensor.detach().as_strided((emitted.elements,), (1,), 0)
            record = _Record(emitted, values)
            emitted.record = weakref.ref(record)
        return _Saved(
            record, tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())
        )


def _unpack(saved: Tensor | _Saved) -> Tensor:
    return saved.restore() if isinstance(saved, _Saved) else saved


_active: ContextVar[_Emissions | None] = ContextVar("synfire_packed_activations", default=None)
_packing = False  # the same for compilers, which guard on globals


@contextmanager
def packed_activations() -> Iterator[None]:
    """Run forward passes in this block, and every neuron's output is kept for gradients as packed counts.

    A convolution or linear keeps its input for the gradient of its weight. Where that input is what a neuron emitted,
    or a view of it (flattened, transposed, sliced), the graph holds one bit an element (binary neurons), four bits (up
    to 15 levels) or a byte (up to 255) instead of two or four bytes, and restores it in the backward pass, bit for bit
    and with the same strides. Gradients are those of a run without this context.

    Kept as they are: float64, tensors that were changed in place since the neuron wrote them, copies (a cast by
    autocast, pooling, concatenation), neurons of one's own step function, and what a block under activation
    checkpointing saves, which lives for a moment only. A NaN that a neuron emits is not restored as NaN. The backward
    pass may run outside of the block. Inside of ``torch.compile`` there are no such hooks; there
    :class:`synfire.layers.SpikingSequential` and :func:`synfire.functional.spike_conv2d` keep counts.

    Example:
        >>> from torch import nn
        >>> from synfire.neurons import IntegerLIF
        >>> net = nn.Sequential(nn.Linear(8, 8), IntegerLIF(4), nn.Linear(8, 2))
        >>> with packed_activations():
        ...     loss = net(torch.rand(4, 8)).sum()
        >>> loss.backward()
    """
    global _packing
    emissions = _active.get() or _Emissions()  # an inner block knows what was emitted outside
    token, outer = _active.set(emissions), _packing
    _packing = True
    try:
        with listening(emissions.hear), saved_tensors_hooks(emissions.pack, _unpack):
            yield
    finally:
        _packing = outer
        _active.reset(token)


def consume(module: nn.Module, x: Tensor, neuron: Neuron | None) -> Tensor:
    """``module(x)``, where ``x`` is what ``neuron`` emitted (None: something else).

    Compiled inside of :func:`packed_activations`, a linear or a convolution runs as the operator that keeps counts;
    elsewhere the hooks of that context see to it.
    """
    if _packing and neuron is not None and torch.compiler.is_compiling() and not _hooked(module):
        levels, scale = neuron.levels, neuron.scale
        if type(module) is nn.Linear and packable(x.dtype, levels, scale):
            return spike_linear(x, module.weight, module.bias, levels, scale)
        if type(module) is nn.Conv2d and packable(x.dtype, levels, scale):
            padding = module.padding
            if module.padding_mode == "zeros" and not isinstance(padding, str) and x.ndim == 4:
                return spike_conv2d(
                    x, module.weight, module.bias, levels, scale,
                    module.stride, padding, module.dilation, module.groups,
                )  # fmt: skip
    out: Tensor = module(x)
    return out


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
