"""Timing of contestants side by side, and what must stand beside every figure."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.outcome import Outcome, Target, save
from synfire.core.errors import SynfireError

__all__ = [
    "Disagreement",
    "Outcome",
    "Target",
    "Timing",
    "gpu_name",
    "kernels_of",
    "measure_on_gpu",
    "measure_together",
    "or_why_not",
    "ratio",
    "report",
    "same_counts",
    "same_values",
    "save",
]

_COLD = 256 << 20
"""Bytes written between two timed calls on a GPU: more than any cache holds."""
_CYCLES_OF_A_MILLISECOND = 2_000_000
"""Of a device at its highest clock."""


class Disagreement(SynfireError):
    """A contestant computes something else, so its time would mean nothing."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call; ``rounds`` are the single ones, in the order in which all contestants took turns."""

    median: float
    fastest: float
    slowest: float
    repeats: int
    rounds: tuple[float, ...] = field(default=(), repr=False)
    host: float | None = None
    """What the host needs to launch a call of a device, where that was measured."""

    @classmethod
    def of(cls, rounds: list[float]) -> Timing:
        """The summary of single measurements in milliseconds."""
        return cls(statistics.median(rounds), min(rounds), max(rounds), len(rounds), tuple(rounds))


def measure_together(
    contestants: Mapping[str, Callable[[], Any]], repeats: int = 15
) -> dict[str, Timing]:
    """Time all contestants in turn, round by round, so that a slow moment of the machine hits all."""
    for call in contestants.values():
        call()
        call()
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, call in contestants.items():
            start = time.perf_counter()
            call()
            rounds[name].append(1e3 * (time.perf_counter() - start))
    return {name: Timing.of(values) for name, values in rounds.items()}


def measure_on_gpu(
    contestants: Mapping[str, Callable[[], Any]], repeats: int = 30
) -> dict[str, Timing]:
    """The same on the current CUDA device, between events and with cold caches.

    Before every call a large buffer is written, which empties the caches, and the device then waits until the host has
    launched the whole call: the time is that of the device, without gaps of the host, which a net of several layers
    hides too. What the host needs is ``host`` of the Timing.
    """
    cold = torch.empty(_COLD, dtype=torch.uint8, device="cuda")
    host: dict[str, float] = {}
    for name, call in contestants.items():
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        launches = []
        for _ in range(5):
            start_time = time.perf_counter()
            call()
            launches.append(1e3 * (time.perf_counter() - start_time))
            torch.cuda.synchronize()
        host[name] = statistics.median(launches)
    events: dict[str, list[tuple[Any, Any]]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, call in contestants.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            cold.zero_()
            torch.cuda._sleep(int(_CYCLES_OF_A_MILLISECOND * (1 + 3 * min(host[name], 20.0))))
            start.record()
            call()
            end.record()
            events[name].append((start, end))
        torch.cuda.synchronize()
    return {
        name: replace(Timing.of([start.elapsed_time(end) for start, end in pairs]), host=host[name])
        for name, pairs in events.items()
    }


def gpu_name() -> str:
    """The current CUDA device in a word, such as H100; ``CPU`` where there is none."""
    if not torch.cuda.is_available():
        return "CPU"
    words = torch.cuda.get_device_name().split()
    return next((word for word in words if any(letter.isdigit() for letter in word)), words[-1])


def kernels_of(call: Callable[[], Any], most: int = 3) -> str:
    """The CUDA kernels that ``call()`` launches: how many, and those that take most of the time."""
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    seen = [event for event in profile.key_averages() if event.device_type.name == "CUDA"]
    seen.sort(key=lambda event: -event.self_device_time_total)
    first = ", ".join(f"{event.key[:60]} ({event.count})" for event in seen[:most])
    return f"{sum(event.count for event in seen)} kernels: {first}" if seen else "none seen"


def or_why_not(prepare: Callable[[], Any]) -> str | None:
    """None if ``prepare()`` went well, else what another library, or a compiler, said.

    For contestants that a comparison can do without: they are left out, and the reason stands beside the figures.
    """
    try:
        prepare()
    except (SynfireError, RuntimeError, ValueError, TypeError, AttributeError, ImportError) as why:
        reason = f"{type(why).__name__}: {why}".strip().splitlines()[0][:200]
        print(f"left out: {reason}", flush=True)
        return reason
    return None


def ratio(timings: Mapping[str, Timing], slower: str, faster: str) -> float:
    """How many times longer ``slower`` takes: the median over the rounds, in which both ran one after the other."""
    pairs = zip(timings[slower].rounds, timings[faster].rounds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def same_counts(
    name: str, counts: torch.Tensor, expected: torch.Tensor, share: float = 1e-6
) -> None:
    """Equal in all places but a ``share``: an equal equation may round differently at a threshold."""
    if counts.shape != expected.shape:
        raise Disagreement(f"{name} gives shape {tuple(counts.shape)}, not {tuple(expected.shape)}")
    other = float((counts.float() != expected.float()).float().mean())
    if not other <= share:
        raise Disagreement(f"{name} gives other counts in {other:.2e} of all places")


def same_values(
    name: str, values: torch.Tensor, expected: torch.Tensor, error: float = 1e-4
) -> None:
    """Equal but for a relative error ||values - expected|| / ||expected||."""
    if values.shape != expected.shape:
        raise Disagreement(f"{name} gives shape {tuple(values.shape)}, not {tuple(expected.shape)}")
    wide = expected.double()
    found = float((values.double() - wide).norm() / wide.norm())
    if not found <= error:
        raise Disagreement(f"{name} is off by {found:.2e} of the expected norm")


def report(title: str, timings: Mapping[str, Timing], baseline: str) -> None:
    """Print one table; the last column is relative to ``baseline``."""
    print(f"\n{title}\n{'':44}{'median ms':>11}{'min':>9}{'max':>9}{'x ' + baseline:>16}")
    for name, timing in timings.items():
        times = timing.median / timings[baseline].median
        print(
            f"{name:44}{timing.median:11.3f}{timing.fastest:9.3f}{timing.slowest:9.3f}{times:16.2f}"
            + ("" if timing.host is None else f"   host {timing.host:.3f}")
        )
