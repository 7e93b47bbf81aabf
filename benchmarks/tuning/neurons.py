"""Sweep of block sizes and designs of the Triton neuron kernels on a CUDA device: exact first, then timed.

    python -m benchmarks.tuning.neurons [--out FILE] [--seconds S] [--only TEXT] [--elements N]

Designs: all timesteps unrolled, with more or fewer loads in flight in registers, or chunks of them in a loop whose
loads are pipelined through shared memory (``stages``). Processes of their own compile everything side by side first.
A share is the time of a copy that moves the same bytes, in turns with the kernels, over the time of a kernel. The
last lines are what to write into ``synfire/kernels/integrate_fire/triton/launch.py``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.harness import measure_on_gpu
from synfire.kernels.integrate_fire import neuron_dynamics, plain
from synfire.kernels.integrate_fire import triton as path
from synfire.kernels.integrate_fire.call import Affine, Channelwise, Epilogue
from synfire.kernels.integrate_fire.triton.launch import Blocks, Tiles
from synfire.kernels.surrogates import Surrogate

DEVICE = "cuda"
INTEGER = neuron_dynamics(4, "half_up", surrogate=Surrogate("rectangle"), unit="count")
ARCTAN = neuron_dynamics(1, "floor", reset="hard", surrogate=Surrogate("arctan"))
FLOAT32, FLOAT16, BFLOAT16 = torch.float32, torch.float16, torch.bfloat16
LAYOUTS = {  # channels, inner
    "NCHW 256x28x28": (256, 784),
    "NCHW 64x64x64": (64, 4096),
    "NCHW 256x14x14": (256, 196),
    "channels last 64": (64, 1),
    "channels last 256": (256, 1),
}
Config = Blocks | Tiles


@dataclass(frozen=True)
class Case:
    """One kernel on one kind of input."""

    kind: str
    dtype: torch.dtype
    timesteps: int
    elements: int
    layout: str = ""

    @property
    def name(self) -> str:
        """For the table."""
        words = (self.kind, str(self.dtype)[6:], f"T={self.timesteps}", self.layout)
        return ", ".join(word for word in words if word)

    @property
    def slot(self) -> str:
        """Which row of a table of launch.py the case informs."""
        tables = {
            "forward": "_FIRE", "forward + record": "_FIRE", "affine + forward": "_FIRE",
            "backward of record": "_OF_RECORD", "backward of input": "_OF_MEMBRANES",
            "backward + epilogue": "_OF_INPUT", "moments": "_MOMENTS", "sums": "_SUMS",
        }  # fmt: skip
        size = self.dtype.itemsize
        return f"{tables[self.kind]} {size if self.kind == 'moments' else (size, self.timesteps)}"

    def configs(self) -> list[Config]:
        """The default first, then what is worth a try."""
        tried = list(tiles(self) if self.kind in ("moments", "sums") else blocks(self))
        default = self.default()
        return [default, *(config for config in tried if config != default)]

    def default(self) -> Config:
        """What the library takes."""
        size = self.dtype.itemsize
        if self.kind == "moments":
            return path.moment_tiles(size)
        if self.kind == "sums":
            return path.sum_tiles(size, self.timesteps)
        if "forward" in self.kind:
            return path.fire_blocks(size, self.timesteps)
        keep = self.kind == "backward of input"
        recompute = self.kind != "backward of record"
        return path.backward_blocks(size, self.timesteps, recompute, keep)

    def moved(self, states: int) -> int:
        """Bytes of main memory that the kernel must read and write."""
        each = self.timesteps * states
        tensors = {"moments": 1, "sums": 2, "backward of input": 3, "backward + epilogue": 3}
        record = each / 8 if "record" in self.kind else 0
        return int(tensors.get(self.kind, 2) * each * self.dtype.itemsize + record)


def blocks(case: Case) -> Iterator[Blocks]:
    """Unrolled designs, then pipelined ones."""
    steps = case.timesteps
    shapes = [(64, 4), (128, 4), (128, 8), (256, 8)]
    fused = bool(case.layout)
    if case.dtype == BFLOAT16 and not fused:  # as float16, whose sweep is wide
        yield from (Blocks(rows, warps, min(steps, 8)) for rows, warps in shapes[:3])
        return
    if steps == 1 and not fused:
        shapes += [(32, 4), (256, 4), (512, 8)]
    aheads = {1: (1,), 4: (4,), 16: (4, 8, 16)}[steps]
    if case.kind.startswith("backward of input") and steps == 16:
        shapes, aheads = [(32, 4), (64, 4), (128, 8)], (4, 16)
    for rows, warps in shapes:
        yield from (Blocks(rows, warps, ahead) for ahead in aheads)
    if fused:
        return
    yield Blocks(128, 4, aheads[-1], policy="evict_first")
    yield Blocks(128, 8, aheads[-1], policy="evict_first")
    if steps == 16 and case.kind != "backward of input":
        for rows, warps in ((64, 4), (128, 4), (256, 8)):
            yield from (Blocks(rows, warps, 4, steps=4, stages=stages) for stages in (1, 2, 3))


def tiles(case: Case) -> Iterator[Tiles]:
    """Tiles and numbers of programs of the two-stage sums."""
    if case.kind == "moments":
        for elements, warps, programs in (
            (1024, 4, 8), (2048, 4, 4), (2048, 4, 8), (4096, 8, 4), (4096, 8, 8), (4096, 4, 8),
        ):  # fmt: skip
            yield Tiles(elements, warps, programs)
        yield Tiles(2048, 4, 8, stages=3)
        yield Tiles(4096, 8, 4, stages=3)
        return
    for elements, warps, programs in (
        (512, 4, 8), (512, 4, 16), (1024, 4, 4), (1024, 4, 8), (1024, 8, 4), (2048, 8, 4),
    ):  # fmt: skip
        yield Tiles(elements, warps, programs)
    yield Tiles(1024, 4, 4, stages=2)


def cases(elements: int) -> list[Case]:
    """All cases of about ``elements`` elements, timesteps included."""
    found = [
        Case(kind, dtype, steps, elements)
        for kind in ("forward", "forward + record", "backward of record")
        for dtype in (FLOAT32, FLOAT16, BFLOAT16)
        for steps in (1, 4, 16)
    ]
    found += [
        Case("backward of input", dtype, steps, elements)
        for dtype in (FLOAT32, FLOAT16)
        for steps in (1, 4, 16)
    ]
    fused = ("affine + forward", "backward + epilogue", "sums", "moments")
    for layout in LAYOUTS:
        for steps in (1, 4):
            found += [
                Case(kind, BFLOAT16, steps, elements, layout)
                for kind in fused
                if kind != "moments" or steps == 1
            ]
    found += [Case(kind, FLOAT32, 4, elements, "NCHW 256x28x28") for kind in fused[:3]]
    found += [Case("moments", FLOAT32, 1, elements, "NCHW 256x28x28")]
    return [*found, *(Case(kind, BFLOAT16, 16, elements, "NCHW 256x28x28") for kind in fused[:3])]


class Inputs:
    """Tensors of a case, and its calls."""

    def __init__(self, case: Case, drawn: bool) -> None:
        self.case = case
        channels, inner = LAYOUTS.get(case.layout, (1, 8))
        line = channels * inner
        self.states = max(1, case.elements // case.timesteps // line) * line
        shape = (case.timesteps, self.states)
        self.dynamics = ARCTAN if case.kind == "backward of input" else INTEGER
        self.random = torch.Generator(DEVICE).manual_seed(0)
        self.x, self.grad = (torch.empty(shape, dtype=case.dtype, device=DEVICE) for _ in range(2))
        self.record = torch.empty(
            (1, case.timesteps, self.states // 8), dtype=torch.uint8, device=DEVICE
        )
        if drawn:
            self.x.normal_(0.5, 1.5, generator=self.random)
            self.grad.normal_(generator=self.random)
            self.record.random_(0, 256, generator=self.random)
        self.channels, self.inner = channels, inner
        self.affine, self.epilogue, self.mean = None, None, self._values(-0.5, 0.5)
        if case.layout and case.kind != "moments":
            self.affine = Affine(self._values(0.5, 1.5), self._values(-0.5, 0.5))
            if case.kind == "backward + epilogue":
                self.epilogue = Epilogue(*(self._values(-0.5, 1.5) for _ in range(4)))

    def _values(self, low: float, high: float) -> Channelwise:
        values = torch.rand(self.channels, generator=self.random, device=DEVICE)
        return Channelwise(low + (high - low) * values, self.inner)

    @cached_property
    def neuron(self) -> tuple[Any, ...]:
        """State, decay 0.9, threshold 1 and dynamics."""
        constants = (
            Channelwise(torch.tensor([value], device=DEVICE), 1, value) for value in (0.9, 1.0)
        )
        return None, None, *constants, self.dynamics

    def run(self, how: Any) -> list[Tensor]:
        """The results of one path: a module with the functions of the contract."""
        kind, neuron, affine = self.case.kind, self.neuron, self.affine
        if kind == "moments":
            return list(how.moments(self.x, self.channels, self.inner))
        if kind == "sums":
            options = {"affine": affine, "output_scale": 1.0, "mean": self.mean}
            return list(how.backward_sums(self.grad, None, None, self.x, *neuron, **options))
        if "forward" in kind:
            record = kind == "forward + record"
            fired = how.forward(self.x, *neuron, affine=affine, record=record, last_state=False)
            return [fired.out, fired.record] if record else [fired.out]
        given = (None, self.record) if kind == "backward of record" else (self.x, None)
        grads = how.backward(
            self.grad, None, None, *given, *neuron, affine=affine, epilogue=self.epilogue
        )
        return [grads.x]


@contextmanager
def using(config: Config) -> Iterator[None]:
    """The library with one configuration for every kernel that takes its kind."""
    names = ("fire_blocks", "backward_blocks")
    if isinstance(config, Tiles):
        names = ("moment_tiles", "sum_tiles")
    with patch.multiple(path, **dict.fromkeys(names, lambda *asked: config)):
        yield


def call_of(inputs: Inputs, config: Config) -> Callable[[], list[Tensor]]:
    """A call with a configuration."""

    def call() -> list[Tensor]:
        with using(config):
            return inputs.run(path)

    return call


def wrong(found: list[Tensor], expected: list[Tensor], exact: bool) -> str | None:
    """What differs, in words."""
    for number, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        if torch.equal(mine, theirs):
            continue
        error = float((mine.double() - theirs.double()).norm() / theirs.double().norm())
        if exact or not error < 1e-4:
            places = int((mine != theirs).sum())
            return f"WRONG: result {number} differs in {places} places, relative error {error:.1e}"
    return None


def last_line(problem: Exception) -> str:
    """An error in one line."""
    lines = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {lines[-1][:100]}"


def compile_share(elements: int, only: str, share: int, of: int) -> None:
    """Compile every ``of``-th configuration into Triton's cache, without launching it."""
    from triton.runtime.jit import JITFunction

    launch = JITFunction.run

    def only_compile(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        launch(self, *args, grid=grid, warmup=True, **options)

    JITFunction.run = only_compile
    number = 0
    for case in chosen(elements, only):
        inputs = None
        for config in case.configs():
            number += 1
            if number % of != share:
                continue
            inputs = inputs or Inputs(case, drawn=False)
            try:
                call_of(inputs, config)()
            except Exception as problem:  # the sweep itself meets it again, and says it
                print(f"{case.name} {config}: {last_line(problem)}", file=sys.stderr)


def chosen(elements: int, only: str) -> list[Case]:
    """The cases whose name contains ``only``."""
    return [case for case in cases(elements) if only in case.name]


def compile_all(options: argparse.Namespace) -> None:
    """All configurations, in processes side by side."""
    command = [sys.executable, "-m", "benchmarks.tuning.neurons", "--only", options.only]
    command += ["--elements", str(options.elements)]
    workers = [
        subprocess.Popen([*command, "--compile", str(share), str(options.workers)])
        for share in range(options.workers)
    ]
    for worker in workers:
        worker.wait()


def sweep_case(case: Case) -> list[dict[str, Any]]:
    """Rows of one case, the fastest first."""
    inputs = Inputs(case, drawn=True)
    expected = inputs.run(plain)
    exact = case.kind not in ("moments", "sums")
    rows, runs = [], {}
    for number, config in enumerate(case.configs()):
        row = {"case": case.name, "slot": case.slot, "config": asdict(config), "number": number}
        rows.append(row)
        call = call_of(inputs, config)
        try:
            row["problem"] = wrong(call(), expected, exact)
        except Exception as problem:  # any error of the compiler is a line of the table
            row["problem"] = last_line(problem)
        if row["problem"] is None:
            runs[number] = call
    del expected
    half = torch.empty((2, case.moved(inputs.states) // 2), dtype=torch.uint8, device=DEVICE)
    timings = measure_on_gpu({"copy": lambda: half[0].copy_(half[1]), **runs}, repeats=12)
    for row in rows:
        if row["number"] in timings:
            row["ms"] = timings[row["number"]].median
            row["share"] = timings["copy"].median / row["ms"]
    return sorted(rows, key=lambda row: row.get("ms", float("inf")))


def show(rows: list[dict[str, Any]]) -> None:
    """One line for a case: the default, the best three, and what is wrong."""
    default = next(row for row in rows if row["number"] == 0)
    best = [f"{row['share']:.3f} {short(row['config'])}" for row in rows[:3] if "ms" in row]
    share = f"{default['share']:.3f}" if "share" in default else "  -  "
    ms = f"{rows[0]['ms']:.4f} ms" if "ms" in rows[0] else ""
    print(f"{rows[0]['case']:52}{share:>7} | {' | '.join(best)} | {ms}", flush=True)
    for row in rows:
        if row["problem"]:
            print(f"    {short(row['config'])}: {row['problem']}", flush=True)


def short(config: dict[str, Any]) -> str:
    """A configuration without what is as usual."""
    usual = {"policy": "", "stages": 1, "steps": 16}
    return " ".join(f"{name} {value}" for name, value in config.items() if usual.get(name) != value)


def suggest(rows: list[dict[str, Any]]) -> None:
    """For each row of the tables the configuration with the best geometric mean over its cases."""
    slots: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if "share" in row:
            shares = slots.setdefault(row["slot"], {}).setdefault(json.dumps(row["config"]), [])
            shares.append(row["share"])
    print("\nbest over all cases of a row")
    for slot, configs in sorted(slots.items()):
        most = max(len(shares) for shares in configs.values())
        full = {config: shares for config, shares in configs.items() if len(shares) == most}
        config, shares = max(full.items(), key=lambda item: torch.tensor(item[1]).log().mean())
        print(f"{slot:28}{short(json.loads(config)):58}{min(shares):.3f} to {max(shares):.3f}")


def host_microseconds() -> dict[str, float]:
    """What a call costs the host, on a tensor so small that the device is never behind."""
    small = replace(cases(1 << 14)[0], timesteps=4)
    found = {}
    for kind in ("forward", "forward + record", "backward of record"):
        inputs = Inputs(replace(small, kind=kind), drawn=True)
        for _ in range(20):
            inputs.run(path)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(200):
            inputs.run(path)
        found[kind] = 1e6 * (time.perf_counter() - start) / 200
        torch.cuda.synchronize()
    return found


def main() -> None:
    """Compile, check, time, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="JSON of all rows")
    parser.add_argument("--seconds", type=float, default=115, help="stop after (default: 115)")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains it")
    parser.add_argument("--elements", type=int, default=64 * 256 * 28 * 28 * 4)
    parser.add_argument("--workers", type=int, default=12, help="processes that compile")
    parser.add_argument("--compile", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compile is not None:
        compile_share(options.elements, options.only, *options.compile)
        return
    end = time.monotonic() + options.seconds
    start = time.monotonic()
    compile_all(options)
    print(
        f"compiled in {time.monotonic() - start:.0f} s; columns: default | best three shares | ms"
    )
    rows: list[dict[str, Any]] = []
    for case in chosen(options.elements, options.only):
        if time.monotonic() > end:
            print(f"out of time before {case.name}")
            break
        found = sweep_case(case)
        show(found)
        rows += found
        torch.cuda.empty_cache()
    suggest(rows)
    host = host_microseconds()
    print("host microseconds a call:", {kind: round(value, 1) for kind, value in host.items()})
    if options.out is not None:
        about = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
        options.out.write_text(json.dumps({**about, "host": host, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
