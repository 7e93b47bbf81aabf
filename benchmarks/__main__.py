"""``python -m benchmarks [NAME ...]``: measure, write ``benchmarks/results/*.json``, print the table of targets.

Without a name all benchmarks run that this machine can run, each in a process of its own, and a failing one does not
stop the others. ``--targets`` prints the table from the results that are there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.catalogue import Benchmark, chosen
from benchmarks.outcome import RESULTS, as_outcome, read, save, table_of_targets, targets_of
from synfire.core.errors import SynfireError


def main() -> int:
    """Run what was asked for; the number of failures, at most 1."""
    options = _options()
    if options.targets:
        _print_targets(sorted(options.out.glob("*.json")))
        return 0
    device = options.device or (None if torch.cuda.is_available() else "cpu")
    jobs = [
        (name, benchmark, threads)
        for name, benchmark in chosen(options.names, device).items()
        for threads in _threads(benchmark, options.threads)
    ]
    if options.list:
        for name, benchmark, threads in jobs:
            print(f"{name:32}{benchmark.device:6}{threads} threads")
        return 0
    if len(jobs) == 1:
        name, benchmark, threads = jobs[0]
        _measure(benchmark, threads, options.out)
        return 0
    paths, failed = [], []
    for name, benchmark, threads in jobs:
        if _measure_apart(name, threads, options):
            paths.append(options.out / f"{benchmark.results(threads)}.json")
        else:
            failed.append(f"{name} with {threads} threads")
    _print_targets(paths)
    for name in failed:
        print(f"FAILED: {name}")
    return min(len(failed), 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks (default: all)")
    parser.add_argument("--threads", type=int, help="torch threads (default: 1, then 2)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="only benchmarks of this device")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--timeout", type=float, help="seconds for each process (default: none)")
    parser.add_argument("--list", action="store_true", help="print what would run, and end")
    parser.add_argument("--targets", action="store_true", help="print the table of saved results")
    return parser.parse_args()


def _threads(benchmark: Benchmark, asked: int | None) -> tuple[int, ...]:
    if asked is not None:
        return (asked,)
    return (torch.get_num_threads(),) if benchmark.device == "cuda" else benchmark.threads


def _measure(benchmark: Benchmark, threads: int, folder: Path) -> None:
    torch.set_num_threads(threads)
    outcome = as_outcome(benchmark.run())
    for title, figures in outcome.memory.items():
        print(f"\n{title}")
        for contestant, figure in figures.items():
            print(f"{contestant:44}{figure:11.4g}")
    for name, note in outcome.notes.items():
        print(f"{name}: {note}")
    path = save(benchmark.results(threads), outcome, folder)
    print(f"\n{table_of_targets(outcome.targets)}\n{path}")


def _measure_apart(name: str, threads: int, options: argparse.Namespace) -> bool:
    """Whether a process of its own measured one benchmark to the end."""
    print(f"\n== {name}, {threads} threads", flush=True)
    command = [sys.executable, "-m", "benchmarks", name, "--threads", str(threads)]
    try:
        run = subprocess.run(
            [*command, "--out", str(options.out)], check=False, timeout=options.timeout
        )
    except subprocess.TimeoutExpired:
        print(f"{name} took longer than {options.timeout:g} s", flush=True)
        return False
    return run.returncode == 0


def _print_targets(paths: list[Path]) -> None:
    targets = [target for path in paths for target in targets_of(read(path))]
    if targets:
        print(f"\n{table_of_targets(targets)}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SynfireError as problem:
        sys.exit(f"python -m benchmarks: {problem}")
