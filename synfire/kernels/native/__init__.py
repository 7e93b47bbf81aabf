"""The compiled CPU kernels: whether they are there, and how wide their vectors are.

Operators call them through a module of their own folder (``integrate_fire/native.py``), which has the functions of the
reference path and equals them bit for bit.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from synfire.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from torch import Tensor

LARGE = 16 << 20
"""Bytes from which a new tensor is worth large pages: memory of that size often comes fresh from the system."""


@cache
def _extension() -> tuple[ModuleType | None, str]:
    """The compiled module, or None and the reason."""
    try:
        from synfire.kernels.native import _native
    except ImportError as problem:
        return None, str(problem)
    return _native, ""


def available() -> bool:
    """Whether the compiled kernels can be used.

    Example:
        >>> available() in (True, False)
        True
    """
    return _extension()[0] is not None


def absence() -> str | None:
    """Why the compiled kernels cannot be used, and how to mend it; None where they can."""
    module, problem = _extension()
    if module is not None:
        return None
    return (
        f"the compiled CPU kernels of synfire are absent ({problem}), this runs on plain torch, several times slower: "
        "install a C++17 compiler, then synfire once more (pip install --force-reinstall --no-deps)"
    )


def extension() -> ModuleType:
    """The compiled module.

    Raises:
        MissingDependencyError: it was not built.
    """
    module, _ = _extension()
    if module is None:
        raise MissingDependencyError(f"{absence()}.")
    return module


def lanes() -> int:
    """Numbers of single precision that a vector register of this processor holds: 16, 8 or 4."""
    width: int = extension().lanes()
    return width


def in_large_pages(new: Tensor) -> Tensor:
    """``new`` itself, for which the system was asked for large pages if it is large and in main memory.

    A kernel that fills fresh memory otherwise spends most of its time in page faults.
    """
    if new.device.type == "cpu" and new.nbytes >= LARGE and available():
        extension().prefer_large_pages(new.data_ptr(), new.nbytes)
    return new
