"""From a model to a SpikeGraph and its runtimes. Names resolve lazily, so graphs load and run without torch."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "SpikeGraph": "synfire.export.graph",
    "Node": "synfire.export.graph",
    "Edge": "synfire.export.graph",
    "Execution": "synfire.export.executors",
    "execute": "synfire.export.executors",
    "trace": "synfire.export.tracing",
    "verify": "synfire.export.verification",
    "convert_activations": "synfire.export.conversion",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
