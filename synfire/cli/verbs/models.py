"""List models with parameter counts and shipped weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

EXAMPLE = "synfire models 'spiking_cnn*'"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern of names")
    args = parser.parse_args(words)
    import torch

    from synfire.core.errors import UnknownNameError
    from synfire.core.models import create_model, list_models
    from synfire.core.registry import pretrained

    names = list_models(args.pattern)
    if not names:
        raise UnknownNameError("model", args.pattern, list_models())
    rows = [("model", "parameters", "pretrained")]
    for name in names:
        with torch.device("meta"):  # sizes alone, without memory
            parameters = sum(p.numel() for p in create_model(name).parameters())
        weights = [key.split("/", 1)[1] for key in pretrained.names(f"{name}/*")]
        rows.append((name, f"{parameters:,}", ", ".join(weights) or "-"))
    width = max(len(row[0]) for row in rows)
    for row in rows:
        print(f"{row[0]:<{width}}  {row[1]:>12}  {row[2]}")
    return 0
