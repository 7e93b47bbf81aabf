"""Which benchmarks there are: every module with a ``run()`` in the rooms kernels, layers and models.

A module says on what it runs: ``DEVICE`` (``cpu``, the default, or ``cuda``) and, for the CPU, ``THREADS``, the numbers
of threads it is run with (default 1 and 2). ``run()`` returns tables of timings, or an
:class:`benchmarks.outcome.Outcome`. Its name is the module's.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from synfire.core.errors import UnknownNameError

ROOMS = ("kernels", "layers", "models")


@dataclass(frozen=True)
class Benchmark:
    """One module of the rooms."""

    name: str
    run: Callable[[], Any]
    device: str
    threads: tuple[int, ...]

    def results(self, threads: int) -> str:
        """The name of its results file without ending."""
        return f"{self.name}-cuda" if self.device == "cuda" else f"{self.name}-{threads}-threads"


def catalogue() -> dict[str, Benchmark]:
    """All benchmarks by name, sorted."""
    found = {}
    for room in ROOMS:
        package = importlib.import_module(f"benchmarks.{room}")
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            if hasattr(module, "run"):
                found[info.name] = Benchmark(
                    info.name.removesuffix("_cuda"),
                    module.run,
                    getattr(module, "DEVICE", "cpu"),
                    getattr(module, "THREADS", (1, 2)),
                )
    return dict(sorted(found.items()))


def chosen(names: list[str], device: str | None) -> dict[str, Benchmark]:
    """The benchmarks of these names (none: all) for one device (None: both)."""
    known = catalogue()
    for name in names:
        if name not in known:
            raise UnknownNameError("benchmark", name, known)
    return {
        name: benchmark
        for name, benchmark in known.items()
        if (not names or name in names) and device in (None, benchmark.device)
    }
