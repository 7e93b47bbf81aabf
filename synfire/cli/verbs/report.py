"""Write the report of a finished run again from its results.json."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

EXAMPLE = "synfire report runs/digits"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("run", type=Path, help="folder of synfire pipeline")
    parser.add_argument("--out", type=Path, help="folder of the page (default: the run's)")
    args = parser.parse_args(words)
    from synfire.core.errors import DataError
    from synfire.report import write_report

    path = args.run / "results.json"
    if not path.is_file():
        raise DataError(f"{args.run} holds no results.json: run synfire pipeline first.")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}.") from error
    print(f"written: {write_report(args.out or args.run, results)}")
    return 0
