"""Train, evaluate, verify, price, export and reload a net, and write a report of it all."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from synfire.cli.options import add_out, parse_with_overrides, positive

EXAMPLE = "synfire pipeline --recipe digits --seeds 3 --out runs/digits"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("--recipe", default="digits", help="name or YAML file (default: digits)")
    parser.add_argument("--seeds", type=positive, default=1, help="nets to train (default: 1)")
    parser.add_argument("--hardware", default="45nm", help="table of energies (default: 45nm)")
    add_out(parser)
    args, overrides = parse_with_overrides(parser, words)
    from synfire.cli.pipeline import Pipeline
    from synfire.core.files import refuse_finished
    from synfire.training import load_recipe

    recipe = load_recipe(args.recipe, overrides)
    out = args.out or Path("runs") / recipe.name
    refuse_finished(out, args.overwrite)
    command = shlex.join(["synfire", "pipeline", *words])
    pipeline = Pipeline(recipe, out, args.seeds, args.hardware, command, args.overwrite)
    summary = pipeline.run()
    if summary is None:  # a process that only helped to train
        return 0
    print(summary)
    return 0 if pipeline.equal else 1
