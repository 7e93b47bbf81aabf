"""Lower a trained net to a SpikeGraph and save it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from synfire.cli.options import MODEL_HELP, add_out, open_out, parse_with_overrides, shape

EXAMPLE = "synfire export spiking_cnn_tiny/digits --out runs/digits-graph"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--shape", type=shape, help="of one input, such as 1,28,28")
    parser.add_argument("--recipe", help="whose data tell the shape (default: the training's)")
    add_out(parser)
    args, overrides = parse_with_overrides(parser, words)
    from synfire.cli.sources import open_source
    from synfire.core.files import mark_finished
    from synfire.export import trace

    source = open_source(args.model)
    example = source.example(args.shape, args.recipe, overrides)
    graph = trace(source.net, example)
    out = open_out(args, f"export-{source.short_name}")
    graph.save(out / "graph", overwrite=args.overwrite)
    mark_finished(out, {"model": source.name, "nodes": len(graph.nodes)})
    print(f"{graph}\nwritten: {out / 'graph'}")
    return 0
