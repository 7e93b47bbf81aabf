"""Train a net by a recipe; the same command again resumes an interrupted run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from synfire.cli.options import add_out, parse_with_overrides

EXAMPLE = "synfire train --recipe digits --model.levels 8 --train.epochs 20 --out runs/digits-8"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("--recipe", default="digits", help="name or YAML file (default: digits)")
    parser.add_argument("--show", action="store_true", help="print the recipe and what can be set")
    add_out(parser)
    args, overrides = parse_with_overrides(parser, words)
    from synfire.training import fit, load_recipe, load_task
    from synfire.training.recipe import recipe_help

    recipe = load_recipe(args.recipe, overrides)
    if args.show:
        print(recipe.to_yaml(), recipe_help(recipe), sep="\n")
        return 0
    out = args.out or Path("runs") / f"train-{recipe.name}"
    splits = recipe.data.load()
    trained = fit(recipe, out, splits=splits, overwrite=args.overwrite)
    if trained.main:
        evaluation = load_task(recipe.train.task).evaluate(trained.net, splits.test)
        print(f"test: {evaluation}\nwritten: {out}")
    return 0
