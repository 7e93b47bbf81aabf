"""Four times convolution, BatchNorm and neuron on a CUDA device, T = 4, batch 128, 128 channels of 64x64: training.

In float32 and in bfloat16 autocast, contiguous and channels last: each contestant is judged by its faster layout. The
floor is the same net with ReLU in place of neurons. Beside the time stand the most memory that a step holds (input and
weights included) and the bytes that it keeps for its backward pass, an element and layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.harness import (
    Outcome,
    Target,
    Timing,
    gpu_name,
    measure_on_gpu,
    or_why_not,
    ratio,
    report,
)
from benchmarks.layers.chain import OnFolded, chain, check, ours, theirs, training_step
from benchmarks.memory import kept_bytes, peak_bytes
from benchmarks.peers import DECAY, LEVELS, Net
from synfire import packed_activations
from synfire.neurons import LIF, IntegerLIF

DEVICE = "cuda"
TIMESTEPS, BATCH, CHANNELS, SIZE, LAYERS = 4, 128, 128, 64, 4
ROUNDS = 10
FLOOR = "ReLU"
OURS, PACKED = "synfire integer LIF", "synfire integer LIF, packed"
OURS_LIF = "synfire LIF"
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
GIB = 1 << 30


@dataclass(frozen=True)
class Contestant:
    """A way to build the chain, what it must equal (None: nothing, it is the floor), and in what it runs."""

    build: Callable[[int], nn.Module]
    loop: Net | None
    packed: bool = False
    compiled: bool = False


def _integer() -> nn.Module:
    return IntegerLIF(LEVELS, TIMESTEPS, rounding="half_even", normalize=False)


def _lif() -> nn.Module:
    return LIF(TIMESTEPS, decay=DECAY, decay_input=True, reset="hard", surrogate="arctan")


def _relu(layers: int) -> nn.Module:
    return OnFolded(chain(lambda: nn.ReLU(inplace=True), layers, CHANNELS))


def contestants(autocast: torch.dtype | None) -> dict[str, Contestant]:
    """Ours, the floor, spikingjelly in every form that it documents, and the plain loop under torch.compile."""
    integer = lambda layers: ours(_integer, TIMESTEPS, layers, CHANNELS)  # noqa: E731
    lif = lambda layers: ours(_lif, TIMESTEPS, layers, CHANNELS)  # noqa: E731
    found = {
        FLOOR: Contestant(_relu, None),
        OURS: Contestant(integer, peers.integer_loop),
        PACKED: Contestant(integer, peers.integer_loop, packed=True),
        OURS_LIF: Contestant(lif, peers.lif_loop),
    }
    if autocast is not None:  # compiling takes its time: once is enough
        found |= {
            f"torch.compile of {FLOOR}": Contestant(_relu, None, compiled=True),
            f"torch.compile of {OURS}": Contestant(integer, peers.integer_loop, compiled=True),
            "torch.compile of the integer loop": Contestant(
                _with(lambda: peers.integer_loop), peers.integer_loop, compiled=True
            ),
        }
    dtype = autocast or torch.float32
    for forms, loop in (
        (peers.spikingjelly_forms, peers.lif_loop),
        (peers.spikingjelly_integer_forms, peers.integer_loop),
    ):
        for name in forms(dtype, DEVICE):  # every layer its own neuron
            found[name] = Contestant(
                _with(lambda forms=forms, name=name: forms(dtype, DEVICE)[name]), loop
            )
    return found


def _with(neuron: Callable[[], Net]) -> Callable[[int], nn.Module]:
    return lambda layers: theirs(neuron, TIMESTEPS, layers, CHANNELS)


def drawn(layout: torch.memory_format, batch: int) -> Tensor:
    """[T, B, C, H, W], folded in ``layout``."""
    draw = torch.Generator(DEVICE).manual_seed(0)
    shape = (TIMESTEPS * batch, CHANNELS, SIZE, SIZE)
    x = torch.randn(shape, generator=draw, device=DEVICE).contiguous(memory_format=layout)
    return x.unflatten(0, (TIMESTEPS, batch))


@contextmanager
def _exact_products() -> Iterator[None]:
    """Without tf32, whose rounding would hide what is compared."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _checked(name: str, contestant: Contestant, autocast: torch.dtype | None) -> None:
    """One layer of it against one layer with the plain loop."""
    loop = contestant.loop
    if loop is None:
        return
    x = drawn(torch.contiguous_format, max(1, BATCH // 32))
    grad = torch.randn(x.shape, generator=torch.Generator(DEVICE).manual_seed(1), device=DEVICE)
    expected = theirs(lambda: loop, TIMESTEPS, 1, CHANNELS).to(DEVICE)
    net = _built(contestant, 1, torch.contiguous_format)
    # A norm's output rounded to bfloat16, or a state kept in it, moves some counts.
    share = 1e-4 if autocast is None else 3e-2
    with _exact_products():
        check(name, net, expected, x, grad, share, autocast)


class Packed(nn.Module):
    """A net whose forward passes run in ``packed_activations``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with packed_activations():
            out: Tensor = self.net(x)
        return out


def _built(contestant: Contestant, layers: int, layout: torch.memory_format) -> nn.Module:
    net = contestant.build(layers).to(DEVICE, memory_format=layout)
    if contestant.compiled:
        net = torch.compile(net, dynamic=False)
    return Packed(net) if contestant.packed else net


@dataclass
class Found:
    """Built nets by full name with the layout of their input, and what was seen of each."""

    nets: dict[str, tuple[nn.Module, str]] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def _prepare(found: Found, name: str, contestant: Contestant, autocast: torch.dtype | None) -> None:
    """Check a contestant, build it in each layout, and measure its memory."""
    _checked(name, contestant, autocast)
    for place, layout in LAYOUTS.items():
        if contestant.compiled and place == "contiguous":
            continue  # what is compiled finds its layouts by itself
        full = f"{name}, {place}"
        net = _built(contestant, LAYERS, layout)
        found.peaks[full] = (
            peak_bytes(training_step(net, drawn(layout, BATCH), autocast=autocast)) / GIB
        )
        if not contestant.compiled:
            found.kept[full] = _kept(net, drawn(layout, max(1, BATCH // 32)), autocast)
        found.nets[full] = net, place


def compare(autocast: torch.dtype | None) -> tuple[dict[str, Timing], Found]:
    """Times of all contestants in all layouts, and what else was found."""
    found = Found()
    for name, contestant in contestants(autocast).items():
        prepare = partial(_prepare, found, name, contestant, autocast)
        if name in (FLOOR, OURS, PACKED, OURS_LIF):
            prepare()
        elif why_not := or_why_not(prepare):
            found.notes[name] = f"left out, {why_not}"
    inputs = {place: drawn(layout, BATCH) for place, layout in LAYOUTS.items()}
    steps = {
        full: training_step(net, inputs[place], autocast=autocast)
        for full, (net, place) in found.nets.items()
    }
    return measure_on_gpu(steps, ROUNDS), found


def _kept(net: nn.Module, x: Tensor, autocast: torch.dtype | None) -> float:
    def forward() -> Tensor:
        with torch.autocast(DEVICE, autocast, enabled=autocast is not None):
            out: Tensor = net(x)
        return out

    return kept_bytes(forward) / (x.numel() * LAYERS)


def best(table: Mapping[str, Timing], name: str) -> str:
    """A contestant in its faster layout."""
    known = [f"{name}, {place}" for place in LAYOUTS if f"{name}, {place}" in table]
    return min(known, key=lambda full: table[full].median)


def targets_of(table: Mapping[str, Timing], peaks: Mapping[str, float], title: str) -> list[Target]:
    """The lines of the table of targets."""
    where, floor = gpu_name(), best(table, FLOOR)
    rivals = {full.rpartition(", ")[0]: None for full in table if full.startswith("spikingjelly")}
    found = []
    for rival in rivals:
        same = OURS if "ilif" in rival.lower() else OURS_LIF
        times = ratio(table, best(table, rival), best(table, same))
        found.append(Target(where, f"{title}: {same} against {rival}", 2.5, times))
    for name in (OURS, OURS_LIF):
        times = ratio(table, best(table, name), floor)
        measure = f"{title}: {name}, time over the ReLU floor"
        found.append(Target(where, measure, 1.15, times, at_most=True))
    for name, bound in ((OURS, 1.0), (OURS_LIF, 1.0), (PACKED, 0.75)):
        share = peaks[best(table, name)] / peaks[floor]
        measure = f"{title}: {name}, memory over the ReLU floor"
        found.append(Target(where, measure, bound, share, at_most=True))
    return found


def run() -> Outcome:
    """Both precisions."""
    torch.backends.cudnn.benchmark = True
    tables, targets, memory = {}, [], {}
    notes = {
        "spikingjelly's kernels": peers.spikingjelly_kernels(),
        "absent peers": peers.absent(),
    }
    for title, autocast in (("bfloat16 autocast", torch.bfloat16), ("float32", None)):
        table, found = compare(autocast)
        report(title, table, best(table, FLOOR))
        tables[title] = table
        notes |= {f"{title}, {name}": note for name, note in found.notes.items()}
        memory[f"{title}: most memory of a step, GiB"] = found.peaks
        memory[f"{title}: bytes kept an element and layer"] = found.kept
        if autocast is not None:
            targets += targets_of(table, found.peaks, f"conv-BN-neuron x4, {title}")
    return Outcome(tables, targets, memory, notes)
