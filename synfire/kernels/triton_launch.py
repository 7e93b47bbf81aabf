"""Launching Triton kernels again without what Triton does at every call: binding and hashing all arguments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_compiled: dict[tuple[Any, ...], Any] = {}
_INT32 = 1 << 31


def _trait(argument: Any) -> Any:
    """What a compiled kernel depends on in a run-time argument: type, alignment of a pointer, width of an int."""
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    if isinstance(argument, int):
        return argument < _INT32
    return type(argument)


def launch(kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], **options: Any) -> None:
    """Run ``kernel[grid](*arguments, **options)``.

    ``arguments`` are all that come first, before the compile-time constants; every int among them is declared
    ``do_not_specialize``. ``options`` are the constants by name, and num_warps and the like.
    """
    device = torch.cuda.current_device() if torch.cuda.is_available() else -1
    key = (kernel, device, tuple(options.values()), *[_trait(argument) for argument in arguments])
    compiled = _compiled.get(key)
    if compiled is None:
        compiled = kernel[grid](*arguments, **options)
        if compiled is not None:  # the interpreter gives none
            names = kernel.arg_names[len(arguments) :]
            _compiled[key] = compiled, tuple(options[name] for name in names)
        return
    binary, constants = compiled
    binary[(*grid, 1, 1)[:3]](*arguments, *constants)
