"""Run a saved graph on inputs; needs numpy only."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from synfire.cli.options import add_out, open_out, parse_with_overrides, positive

EXAMPLE = "synfire simulate runs/digits/graph --recipe digits --mode slots"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("graph", type=Path, help="folder of a saved graph")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--input", type=Path, help=".npy array [B, ...] or [T, B, ...]")
    given.add_argument("--recipe", help="run the test images of this recipe's data instead")
    parser.add_argument("--mode", default="integer", choices=("integer", "slots"))
    parser.add_argument("--backend", default="numpy", choices=("numpy", "torch"))
    parser.add_argument("--count", type=positive, help="only the first COUNT samples")
    parser.add_argument("--batch-size", type=positive, default=64)
    add_out(parser)
    args, overrides = parse_with_overrides(parser, words)
    import numpy as np

    from synfire.cli.inputs import in_time
    from synfire.core.files import mark_finished, write_atomic, write_json
    from synfire.export.graph import SpikeGraph

    graph = SpikeGraph.load(args.graph)
    x, labels = _read(args, overrides)
    x = in_time(graph, x)[:, : args.count]
    out = open_out(args, f"simulate-{args.graph.resolve().parent.name}")
    output = _outputs(graph, x, args.mode, args.backend, args.batch_size)
    predictions = output.argmax(-1)
    summary: dict[str, Any] = {
        "graph": str(args.graph),
        "mode": args.mode,
        "backend": args.backend,
        "samples": int(x.shape[1]),
    }
    if labels is not None:
        summary["accuracy"] = float((predictions == labels[: args.count]).mean())
    for name, array in (("outputs", output), ("predictions", predictions)):
        write_atomic(out / f"{name}.npy", partial(np.save, arr=array))
    write_json(out / "summary.json", summary)
    mark_finished(out, summary)
    said = f", accuracy {summary['accuracy']:.2%}" if labels is not None else ""
    print(f"{summary['samples']} samples in mode {args.mode}{said}\nwritten: {out}")
    return 0


def _read(args: argparse.Namespace, overrides: list[str]) -> tuple[Any, Any]:
    if args.input is not None:
        from synfire.cli.inputs import read_array
        from synfire.core.errors import ConfigError

        if overrides:
            raise ConfigError(f"{overrides[0]} belongs to a recipe, but --input was given.")
        return read_array(args.input), None
    import torch

    from synfire.training import load_recipe

    test = load_recipe(args.recipe, overrides).data.load().test
    return test.batch(torch.arange(len(test))).numpy(), test.labels.numpy()


def _outputs(graph: Any, x: Any, mode: str, backend: str, batch_size: int) -> Any:
    import numpy as np

    from synfire.cli.console import counter

    if backend == "torch":
        import torch

        x = torch.from_numpy(np.array(x))
    parts = []
    with counter("simulate") as progress:
        for start in range(0, x.shape[1], batch_size):
            output = graph.run(x[:, start : start + batch_size], mode=mode)
            parts.append(np.asarray(output))
            progress(min(start + batch_size, x.shape[1]), x.shape[1])
    axis = 1 if graph.readout == "none" else 0
    return np.concatenate(parts, axis)
