"""Timing with warm-up, medians and spread, and the facts of the machine."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import synfire
from synfire.core.files import write_json

RESULTS = Path(__file__).parent / "results"


def median_ms(function: Callable[[], Any], repeats: int = 11, warm_up: int = 3) -> tuple[float, float]:
    """Median and interquartile range of one call, in milliseconds."""
    for _ in range(warm_up):
        function()
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        samples.append((time.perf_counter() - start) * 1e3)
    quarters = statistics.quantiles(samples, n=4)
    return statistics.median(samples), quarters[2] - quarters[0]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(": ")[1] if names else model
    return {
        "cpu": model,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "synfire": synfire.__version__,
    }


def write_results(name: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows and machine to ``results/<name>.json``."""
    return write_json(RESULTS / f"{name}.json", {"machine": machine(), "rows": json.loads(json.dumps(rows))})
