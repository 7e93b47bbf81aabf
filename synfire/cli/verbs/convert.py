"""Turn released weights of an original repository into a saved model of Synfire."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from synfire.cli.options import add_out, positive

EXAMPLE = "synfire convert e_spikeformer_m.pth --out runs/e_spikeformer_m --levels 4"


def run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("checkpoint", type=Path, help="a .pth, .pt or .safetensors file")
    parser.add_argument(
        "--levels",
        type=positive,
        help="D that the weights were trained with (default: the model's)",
    )
    parser.add_argument(
        "--raw", action="store_true", help="take the raw weights where an average is there too"
    )
    add_out(parser)
    args = parser.parse_args(words)
    from synfire.core.models import refuse_occupied, save
    from synfire.core.released import create_released

    out: Path = args.out or Path("runs") / f"convert-{args.checkpoint.stem}"
    refuse_occupied(out, args.overwrite)
    options = {} if args.levels is None else {"levels": args.levels}
    net, report = create_released(args.checkpoint, average=not args.raw, **options)
    save(net, out, args.overwrite)
    print(f"{report}\nwritten: {out}")
    return 0
