"""Optional dependencies: looked for without importing, imported where used, named when missing."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from synfire.core.errors import MissingDependencyError


def installed(module: str) -> bool:
    """Whether ``module`` could be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def require(module: str, extra: str) -> ModuleType:
    """Import ``module`` or raise one sentence that names the extra which brings it.

    Example:
        >>> require("json", "train").dumps([1])
        '[1]'
    """
    if not installed(module):
        raise MissingDependencyError(
            f"this needs the package {module.split('.')[0]!r}, which is not installed: "
            f'pip install "synfire[{extra}]".'
        )
    return importlib.import_module(module)
