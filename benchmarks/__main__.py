"""``python -m benchmarks``: run all benchmarks, print their tables, write ``benchmarks/results/*.json``."""

from __future__ import annotations

from benchmarks import neurons

if __name__ == "__main__":
    neurons.main()
