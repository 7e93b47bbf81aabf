"""Sweeps of GPU kernels: families of designs, each in a process of its own, exact first, then timed.

Families compile side by side and take turns on the GPU. One that hangs or crashes is ended by itself and reported,
while the others go on.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TURN_SECONDS = 25
"""A family holds the GPU no longer; a kernel that hangs would hold it for ever."""
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Contestant:
    """A kernel in one configuration; ``form`` names the result that it must equal."""

    name: str
    form: str
    how: Any
    run: Run


@dataclass(frozen=True)
class Sweep:
    """What a module of designs offers.

    Attributes:
        module: its name, to start processes.
        families: names of the families.
        shape: the default shape, with the names of its numbers.
        operations: of a shape.
        prepare: tensors of a shape.
        contestants: all of a family.
        expected: right results by form.
    """

    module: str
    families: Sequence[str]
    shape: dict[str, int]
    operations: Callable[[Sequence[int]], float]
    prepare: Callable[[Sequence[int]], Any]
    contestants: Callable[[str, Any], Iterator[Contestant]]
    expected: Callable[[Any], dict[str, Tensor]]


def compile_all(runs: Sequence[Run]) -> list[str | None]:
    """Compile all kernels in threads, without launching one; what failed, per run."""
    from triton.runtime.jit import JITFunction

    launch = JITFunction.run

    def only_compile(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        return launch(self, *args, grid=grid, warmup=True, **options)

    def attempt(run: Run) -> str | None:
        try:
            run()
        except Exception as problem:  # any error of the compiler is a line of the table
            return f"{type(problem).__name__}: {str(problem).strip().splitlines()[-1][:120]}"
        return None

    JITFunction.run = only_compile
    try:
        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(attempt, runs))
    finally:
        JITFunction.run = launch


@contextmanager
def turn(lock: Path) -> Iterator[None]:
    """The GPU for one family; the process ends itself where it takes too long."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        watchdog = threading.Timer(TURN_SECONDS, lambda: os._exit(3))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()


def _measured(entry: Contestant, right: Tensor) -> dict[str, Any]:
    """Milliseconds of an exact contestant, or what is wrong with it."""
    from triton.testing import do_bench

    try:
        if not torch.equal(entry.run(), right):
            return {"problem": "WRONG"}
        return {"ms": do_bench(entry.run, warmup=10, rep=60, return_mode="median")}
    except Exception as problem:  # too much shared memory, or a fault on the GPU
        return {"problem": f"{type(problem).__name__}: {str(problem).strip()[:120]}"}


def work(sweep: Sweep, family: str, shape: Sequence[int], lock: Path, out: Path) -> None:
    """Compile, check and time one family; rows are written as they come."""
    with turn(lock):
        layer = sweep.prepare(shape)
        torch.cuda.synchronize()
    entries = list(sweep.contestants(family, layer))
    failures = compile_all([entry.run for entry in entries])
    with turn(lock), out.open("w") as rows:
        right = sweep.expected(layer)
        for entry, failure in zip(entries, failures, strict=True):
            row = {"name": entry.name, "form": entry.form, "how": asdict(entry.how)}
            print(entry.name, entry.form, entry.how, file=sys.stderr, flush=True)
            row |= {"problem": failure} if failure else _measured(entry, right[entry.form])
            rows.write(json.dumps(row) + "\n")
            rows.flush()
            if "problem" in row and not failure:
                torch.cuda.synchronize()  # after a fault on the GPU this process can measure nothing more


def race(sweep: Sweep, shape: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """All families in processes of their own; their rows, the fastest first."""
    folder = Path(tempfile.mkdtemp())
    jobs = {}
    for number, family in enumerate(sweep.families):
        command = [sys.executable, "-m", sweep.module, "--family", family]
        command += ["--shape", *map(str, shape), "--lock", str(folder / "lock")]
        log = (folder / f"{number}.log").open("w")
        out = folder / f"{number}.json"
        jobs[family] = out, log, subprocess.Popen([*command, "--out", str(out)], stderr=log)
    end, rows = time.monotonic() + seconds, []
    for family, (out, log, process) in jobs.items():
        try:
            status = process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        log.close()
        rows += [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        if status:
            last = Path(log.name).read_text().strip().splitlines()[-3:]
            print(f"{family} ended with {status}: {' | '.join(last)}")
    return sorted(rows, key=lambda row: row.get("ms", float("inf")))


def show(sweep: Sweep, rows: list[dict[str, Any]], shape: Sequence[int]) -> None:
    """The table."""
    print(f"\n{'design':26}{'form':10}{'ms':>8}{'TOPS':>7}  configuration")
    for row in rows:
        how = " ".join(f"{key}={value}" for key, value in row["how"].items())
        if "problem" in row:
            print(f"{row['name']:26}{row['form']:10}  {row['problem']}  {how}")
        else:
            tops = sweep.operations(shape) / row["ms"] / 1e9
            print(f"{row['name']:26}{row['form']:10}{row['ms']:8.4f}{tops:7.0f}  {how}")


def main(sweep: Sweep, about: str | None) -> None:
    """The command line: a whole sweep, or one family of it."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape", type=int, nargs=len(sweep.shape), metavar=tuple(sweep.shape),
        default=tuple(sweep.shape.values()),
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="JSON file of all rows")
    parser.add_argument("--seconds", type=float, default=85, help="limit of the whole sweep")
    parser.add_argument("--family", choices=sweep.families, help=argparse.SUPPRESS)
    parser.add_argument("--lock", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.family:
        work(sweep, options.family, options.shape, options.lock, options.out)
        return
    start = time.monotonic()
    rows = race(sweep, options.shape, options.seconds)
    show(sweep, rows, options.shape)
    print(f"{time.monotonic() - start:.0f} s")
    if options.out:
        machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
        content = {"machine": machine, "shape": options.shape, "rows": rows}
        options.out.write_text(json.dumps(content, indent=1) + "\n")
