"""``python -m benchmarks [--threads N]``: run all benchmarks, print tables, write ``benchmarks/results/*.json``."""

from __future__ import annotations

import argparse

import torch

from benchmarks.harness import save
from benchmarks.kernels import integrate_fire

BENCHMARKS = {"integrate_fire": integrate_fire.run}


def main() -> None:
    """Run each benchmark with the given number of threads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    for name, run in BENCHMARKS.items():
        print(save(f"{name}-{threads}-threads", run()))


if __name__ == "__main__":
    main()
