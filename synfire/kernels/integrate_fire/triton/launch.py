"""Host side of the kernels: which calls they take, compile-time flags, block sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError
from synfire.kernels.integrate_fire.call import Channelwise
from synfire.kernels.integrate_fire.reference import Dynamics

_MOST_BUMPS = 32
_MOST_LEVELS = 1 << 22
_MOST_BYTES = (1 << 31) - (1 << 16)  # the last block may reach a little further
_UNROLLED = 16


@cache
def absence() -> str | None:
    """Why no Triton kernel can run here, or None."""
    if find_spec("triton") is None:
        return 'Triton is not installed: pip install "synfire[cuda]"'
    return None


@cache
def _too_old(device: torch.device) -> str | None:
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a device of compute capability 8.0 or newer"
    return None


def why_not(*tensors: Tensor, dynamics: Dynamics | None = None, **options: Any) -> str | None:
    """Why the Triton path cannot run a call on ``tensors`` ([T, N] first), or None."""
    if (reason := absence()) is not None:
        return reason
    x = tensors[0]
    if x.is_cuda and (reason := _too_old(x.device)) is not None:
        return reason
    if x.ndim == 2 and x.shape[1] // 8 >= _MOST_BYTES:
        return f"a timestep has at most {8 * _MOST_BYTES} elements, this one {x.shape[1]}"
    if dynamics is None:
        return None
    if dynamics.levels >= _MOST_LEVELS:
        return f"counts up to {_MOST_LEVELS} are exact, the neuron has {dynamics.levels} levels"
    if dynamics.levels > _MOST_BUMPS and not tiles_window(dynamics):
        return f"it unrolls at most {_MOST_BUMPS} overlapping surrogates, the neuron has {dynamics.levels} levels"
    return None


@lru_cache(maxsize=1024)
def flags_of(dynamics: Dynamics) -> dict[str, Any]:
    """The constants as compile-time arguments of all kernels."""
    return {
        "LEVELS": dynamics.levels,
        "ROUNDING": dynamics.rounding,
        "FIRST": dynamics.first_level,
        "RESET": dynamics.reset,
        "RESET_VALUE": dynamics.reset_value,
        "GAIN": None if dynamics.decay_input else dynamics.input_gain,
        "SURROGATE": dynamics.surrogate.name,
        "WIDTH": dynamics.surrogate.width,
        "SCALE": dynamics.surrogate.scale,
        "INCLUSIVE": dynamics.inclusive,
        "UNIT": dynamics.unit,
    }


def source_and_kind(value: Channelwise) -> tuple[Tensor | float, str]:
    """What a kernel takes for a value: the number, where the host knows it, or a pointer."""
    if value.constant is not None:
        return value.constant, "number"
    return value.values, "one" if value.values.shape[0] == 1 else "channel"


@dataclass(frozen=True)
class Channels:
    """The channels that all values of a call share, as (e // inner) % number."""

    number: int = 1
    inner: int = 1

    @classmethod
    def of(cls, values: Sequence[Channelwise]) -> Channels:
        """The common channels; single values have none."""
        layouts = {
            cls(value.values.shape[0], value.inner)
            for value in values
            if value.constant is None and value.values.shape[0] > 1
        }
        if len(layouts) > 1:
            raise ConfigError(
                f"all values of a neuron must have the same channels, got {sorted(map(str, layouts))}."
            )
        return next(iter(layouts), cls())

    def place(self, block: int) -> str:
        """How a kernel finds the channel of an element, in blocks of ``block`` elements (step.place_of)."""
        if self.number == 1:
            return "one"
        if self.inner % block == 0:
            return "block"
        if self.inner % 8 == 0:
            return "rows"
        if self.inner == 1 and self.number % 8 == 0:
            return "lanes"
        if self.inner == 1 and self.number >= 8:
            return "wrapped"
        return "pairs" if self.inner >= 8 else "elements"


@dataclass(frozen=True)
class Blocks:
    """How a kernel walks through the states and timesteps of a call.

    Attributes:
        rows: eights of states in a block.
        warps: warps that share it.
        ahead: timesteps whose inputs are loaded in advance, of those that are unrolled.
        steps: timesteps that are unrolled; more run in a loop.
        stages: of that loop, whose loads go through shared memory if there is more than one.
        policy: what the caches are told of loads.
    """

    rows: int
    warps: int
    ahead: int
    steps: int = _UNROLLED
    stages: int = 1
    policy: str = ""

    def flags(self, timesteps: int) -> dict[str, Any]:
        """Compile-time arguments, but for the number of rows."""
        steps = min(self.steps, timesteps)
        return {
            "STEPS": steps,
            "LOOP": steps < timesteps,
            "SHORT": timesteps % steps != 0,
            "STAGES": self.stages,
            "POLICY": self.policy,
            "AHEAD": min(self.ahead, steps),
        }


@dataclass(frozen=True)
class Tiles:
    """How a sum over channels is divided.

    Attributes:
        elements: of a tile.
        warps: of a program.
        programs: for each multiprocessor.
        stages: of the loop over tiles, whose loads go through shared memory if there is more than one.
        ahead: timesteps whose gradients are loaded in advance.
    """

    elements: int
    warps: int
    programs: int
    stages: int = 1
    ahead: int = 4

    def flags(self, timesteps: int) -> dict[str, Any]:
        """Compile-time arguments of the walk through timesteps and tiles."""
        return Blocks(0, self.warps, self.ahead, stages=self.stages).flags(timesteps)


# From benchmarks/tuning/neurons.py, by bytes of an element and timesteps: one, few, many.
_FIRE = {
    (2, 1): Blocks(128, 4, 1), (2, 4): Blocks(128, 8, 4), (2, 16): Blocks(128, 4, 8),
    (4, 1): Blocks(128, 8, 1), (4, 4): Blocks(256, 8, 4), (4, 16): Blocks(128, 8, 8),
}  # fmt: skip
_OF_RECORD = {
    (2, 1): Blocks(128, 4, 1), (2, 4): Blocks(128, 8, 4), (2, 16): Blocks(128, 4, 8),
    (4, 1): Blocks(128, 8, 1), (4, 4): Blocks(128, 8, 4), (4, 16): Blocks(128, 8, 8),
}  # fmt: skip
_OF_INPUT = {
    (2, 1): Blocks(128, 4, 1), (2, 4): Blocks(64, 4, 4), (2, 16): Blocks(128, 4, 4),
    (4, 1): Blocks(128, 8, 1), (4, 4): Blocks(128, 8, 4), (4, 16): Blocks(64, 4, 4),
}  # fmt: skip
_OF_MEMBRANES = {
    (2, 1): Blocks(128, 8, 1), (2, 4): Blocks(64, 4, 4), (2, 16): Blocks(32, 4, 16),
    (4, 1): Blocks(32, 4, 1), (4, 4): Blocks(128, 8, 4), (4, 16): Blocks(32, 4, 16),
}  # fmt: skip
_MOMENTS = {2: Tiles(4096, 8, 4, stages=3), 4: Tiles(2048, 4, 8, stages=3)}
_SUMS = {
    (2, 1): Tiles(2048, 8, 4), (2, 4): Tiles(1024, 4, 4, stages=2), (2, 16): Tiles(1024, 4, 4, stages=2),
    (4, 1): Tiles(1024, 4, 4), (4, 4): Tiles(1024, 4, 4), (4, 16): Tiles(512, 4, 8),
}  # fmt: skip


def _few(timesteps: int) -> int:
    return 1 if timesteps == 1 else 4 if timesteps <= 8 else 16


def fire_blocks(size: int, timesteps: int) -> Blocks:
    """For the forward kernel, of elements of ``size`` bytes."""
    return _FIRE[size, _few(timesteps)]


def backward_blocks(size: int, timesteps: int, recompute: bool, keep: bool) -> Blocks:
    """For the backward kernel; ``keep``: membranes stay in registers."""
    table = _OF_MEMBRANES if keep else _OF_INPUT if recompute else _OF_RECORD
    return table[size, _few(timesteps)]


def moment_tiles(size: int) -> Tiles:
    """For the moments of inputs of ``size`` bytes an element."""
    return _MOMENTS[size]


def sum_tiles(size: int, timesteps: int) -> Tiles:
    """For the sums of gradients, a tile of which has ``timesteps``."""
    return _SUMS[size, _few(timesteps)]


def tiles_window(dynamics: Dynamics) -> bool:
    """Whether a gradient passes in one window of h / threshold, everywhere equally."""
    surrogate = dynamics.surrogate
    one = dynamics.levels == 1 or (surrogate.width == 1.0 and dynamics.unit == "count")
    return surrogate.name == "rectangle" and one and surrogate.scale != 0.0


def keeps_membranes(dynamics: Dynamics, parameters: bool) -> bool:
    """Whether a recomputing backward pass needs the membranes of all timesteps in registers, not two bits of each."""
    through_reset = dynamics.reset == "hard" and not dynamics.detach_reset
    return parameters or through_reset or not tiles_window(dynamics)


@contextmanager
def device_of(x: Tensor) -> Iterator[None]:
    """Kernels are launched on the current device: make it that of ``x``."""
    if x.is_cuda and x.device.index != torch.cuda.current_device():
        with torch.cuda.device(x.device):
            yield
    else:
        yield


@cache
def multiprocessors(device: torch.device) -> int:
    """How many multiprocessors ``device`` has (4 in the interpreter)."""
    if device.type != "cuda":
        return 4
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@dataclass(frozen=True)
class Division:
    """A sum over [batches, channels, inner] divided among programs; fields as in the kernels of sums.py."""

    runs: bool
    length: int
    aligned: int
    batches: int
    columns: int
    grid: tuple[int, int]

    @classmethod
    def of(cls, batches: int, channels: int, inner: int, tiles: Tiles, most: int) -> Division:
        """Runs of at least 256 elements are walked one channel a program, shorter ones as columns."""
        runs = inner >= 256
        length = inner if runs else channels * inner
        columns = _columns(length, tiles.elements if runs else min(256, tiles.elements))
        high = max(1, min(tiles.elements // columns, _power_of_two(batches)))
        if high * channels * inner >= _MOST_BYTES:
            high = 1
        count = -(-batches // high)
        lines = channels
        if runs:
            count *= -(-length // columns)
        else:
            lines = -(-length // columns)
        parts = max(1, min(most // lines, count))
        parts = -(-count // -(-count // parts))  # equal shares
        aligned = max(align for align in (1, 2, 4, 8) if length % align == 0)
        return cls(runs, length // aligned, aligned, high, columns, (lines, parts))

    def flags(self) -> dict[str, Any]:
        """Compile-time arguments."""
        return {
            "RUNS": self.runs,
            "ALIGNED": self.aligned,
            "BATCHES": self.batches,
            "COLUMNS": self.columns,
        }


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()


def _columns(length: int, most: int) -> int:
    """A power of two of at least 128 that wastes few lanes on the ends of lines; the largest of equally good ones."""
    if length <= 128:
        return min(most, _power_of_two(length))
    options = [c for c in (128, 256, 512, 1024, 2048) if c <= min(most, _power_of_two(length))]
    return min(reversed(options), key=lambda c: round(-(-length // c) * c / length, 1))
