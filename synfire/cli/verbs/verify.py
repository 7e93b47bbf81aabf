"""Compare a trained net with its graph, neuron by neuron; exit code 1 if a count differs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from synfire.cli.options import MODEL_HELP, add_out, open_out, parse_with_overrides, positive

EXAMPLE = "synfire verify spiking_cnn_tiny/digits --float64"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--recipe", help="whose test images to use (default: the training's)")
    parser.add_argument("--input", type=Path, help="use this .npy array [B, ...] instead")
    parser.add_argument("--count", type=positive, default=256, help="samples (default: 256)")
    parser.add_argument(
        "--float64", action="store_true", help="tell rounding flips of float32 from wrong nets"
    )
    add_out(parser)
    args, overrides = parse_with_overrides(parser, words)
    import torch

    import synfire
    from synfire.cli.inputs import read_array
    from synfire.cli.sources import open_source
    from synfire.core.files import mark_finished, write_json

    source = open_source(args.model)
    if args.input is not None:
        x = torch.from_numpy(read_array(args.input))[: args.count]
    else:
        test = source.load_splits(source.load_recipe(args.recipe, overrides)).test
        x = test.batch(torch.arange(min(args.count, len(test))))
    out = open_out(args, f"verify-{source.short_name}")
    report = synfire.verify(source.net, x, dtype=torch.float64 if args.float64 else None)
    write_json(out / "verify.json", report.to_dict())
    mark_finished(out, {"model": source.name, "exact": report.exact})
    print(f"{report}\nwritten: {out}")
    return 0 if report.exact else 1
