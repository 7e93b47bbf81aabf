"""Measure the accuracy of a trained net."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from synfire.cli.options import MODEL_HELP, add_out, open_out, parse_with_overrides, positive

EXAMPLE = "synfire evaluate spiking_cnn_small/mnist --data.root path/to/idx-files"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--recipe", help="whose data to use (default: the one of the training)")
    parser.add_argument("--part", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--batch-size", type=positive, default=256)
    add_out(parser)
    args, overrides = parse_with_overrides(parser, words)
    from synfire.cli.console import counter
    from synfire.cli.sources import open_source
    from synfire.core.files import mark_finished, write_json
    from synfire.training import load_task

    source = open_source(args.model)
    recipe = source.load_recipe(args.recipe, overrides)
    splits = source.load_splits(recipe)
    if args.part != "train" and source.may_know(recipe):
        print(
            "note: these data are divided otherwise than for the training, so that images which "
            "the net was trained on may be among them.",
            file=sys.stderr,
        )
    out = open_out(args, f"evaluate-{source.short_name}")
    with counter("evaluate") as progress:
        images = splits.part(args.part)
        task = load_task(recipe.train.task)
        evaluation = task.evaluate(source.net, images, args.batch_size, progress=progress)
    summary = {"model": source.name, "data": splits.name, "part": args.part}
    write_json(out / "evaluation.json", summary | evaluation.to_dict())
    mark_finished(out, summary | evaluation.to_dict())
    print(f"{splits.name}, {args.part}: {evaluation}\nwritten: {out}")
    return 0
