"""Count the operations of a net or graph on real inputs and estimate their energy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synfire.cli.options import add_out, open_out, parse_with_overrides, positive

EXAMPLE = "synfire energy spiking_cnn_tiny/digits --hardware 45nm"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("model", help="a graph's folder, a model's folder, or MODEL/WEIGHTS")
    parser.add_argument("--recipe", help="whose test images to use (default: the training's)")
    parser.add_argument("--input", type=Path, help="use this .npy array instead")
    parser.add_argument("--count", type=positive, default=500, help="samples (default: 500)")
    parser.add_argument("--hardware", default="45nm", help="table of energies (default: 45nm)")
    parser.add_argument("--precision", default="fp32", help="fp32, fp16, int32 or int8")
    add_out(parser)
    args, overrides = parse_with_overrides(parser, words)
    from synfire.core.files import mark_finished, write_json
    from synfire.energy import profile

    graph, x, name = _open(args, overrides)
    out = open_out(args, f"energy-{name}")
    report = profile(graph, x, hardware=args.hardware, precision=args.precision)
    write_json(out / "energy.json", report.to_dict())
    mark_finished(out, {"model": args.model, "sop_unit": report.totals.sop_unit})
    print(f"{report.summary()}\nwritten: {out}")
    return 0


def _open(args: argparse.Namespace, overrides: list[str]) -> tuple[Any, Any, str]:
    """Graph, timed inputs [T, B, ...], and a name for the results."""
    import torch

    from synfire.cli.inputs import in_time, read_array
    from synfire.cli.sources import Source, open_source
    from synfire.export import SpikeGraph, trace
    from synfire.export.storage import GRAPH

    folder = Path(args.model)
    if (folder / GRAPH).is_file():
        graph, source = SpikeGraph.load(folder), Source(None, args.model)
    else:
        graph, source = None, open_source(args.model)
    if args.input is not None:
        x = read_array(args.input)
    else:
        splits = source.load_splits(source.load_recipe(args.recipe, overrides))
        x = splits.test.batch(torch.arange(min(args.count, len(splits.test)))).numpy()
    if graph is None:
        graph = trace(source.net, torch.from_numpy(x[:2]))
    return graph, in_time(graph, x)[:, : args.count], source.short_name
