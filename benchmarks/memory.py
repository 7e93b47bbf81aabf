"""What a training step keeps between forward and backward, and the most that it ever holds."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Created(TorchDispatchMode):
    """Remembers every storage that an operator returns, without keeping it alive."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, StorageWeakRef] = {}  # which also keeps an address from new owners
        self._created: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        for given in tree_leaves((args, kwargs)):
            if isinstance(given, Tensor):
                storage = given.untyped_storage()  # a view of it is nothing new
                if storage._cdata not in self._created:
                    self._known[storage._cdata] = StorageWeakRef(storage)
        results = function(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._remember(result.untyped_storage())
        return results

    def _remember(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        created = self._created.get(key)
        if key not in self._known and (created is None or created[0].expired()):
            self._created[key] = (StorageWeakRef(storage), storage.nbytes())

    def alive(self) -> int:
        """Bytes of those that still exist."""
        return sum(size for reference, size in self._created.values() if not reference.expired())


def kept_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes that live between forward and backward because the backward pass needs them.

    Every storage that an operator of ``forward()`` returned counts once if it is still alive when only the graph holds
    it: saved tensors, packed ones and whatever an operator keeps beside. Not counted: what existed before (weights, the
    input) and the output, unless the graph keeps that too.
    """
    with _Created() as created:
        out = forward()
    if out.grad_fn is None:
        raise ValueError("forward() must give an output with a gradient, got one without.")
    graph = out.sum()  # whose node holds that of out, but not its values
    del out
    gc.collect()
    kept = created.alive()
    del graph
    return kept


def peak_bytes(step: Callable[[], Any]) -> int:
    """The most bytes that the current CUDA device holds during ``step()``, all tensors that exist before included."""
    step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()
