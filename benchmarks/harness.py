"""Timing of contestants side by side, and what must stand beside every figure."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("synfire", "torch", "numpy", "spikingjelly")


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call."""

    median: float
    fastest: float
    slowest: float
    repeats: int


def measure_together(
    contestants: Mapping[str, Callable[[], Any]], repeats: int = 15
) -> dict[str, Timing]:
    """Time all contestants in turn, round by round, so that a slow moment of the machine hits all."""
    for call in contestants.values():
        call()
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, call in contestants.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: Timing(
            *(1e3 * take(values) for take in (statistics.median, min, max)), repeats=repeats
        )
        for name, values in seconds.items()
    }


def machine() -> dict[str, Any]:
    """Processor, threads, versions and commit."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "no repository"


def report(title: str, timings: Mapping[str, Timing], baseline: str) -> None:
    """Print one table; the last column is relative to ``baseline``."""
    print(f"\n{title}\n{'':28}{'median ms':>11}{'min':>9}{'max':>9}{'x ' + baseline:>16}")
    for name, timing in timings.items():
        ratio = timing.median / timings[baseline].median
        print(
            f"{name:28}{timing.median:11.2f}{timing.fastest:9.2f}{timing.slowest:9.2f}{ratio:16.2f}"
        )


def save(name: str, tables: Mapping[str, Mapping[str, Timing]]) -> Path:
    """Write ``results/NAME.json``: the machine and all timings."""
    RESULTS.mkdir(exist_ok=True)
    rows = {
        title: {contestant: asdict(timing) for contestant, timing in table.items()}
        for title, table in tables.items()
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "milliseconds": rows}, indent=1) + "\n")
    return path
