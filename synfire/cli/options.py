"""Options that several verbs have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from synfire.cli.overrides import split_overrides
from synfire.core.errors import ConfigError
from synfire.core.files import refuse_finished

MODEL_HELP = "folder of a training or of a saved model, or shipped weights as MODEL/WEIGHTS"


def add_out(parser: argparse.ArgumentParser) -> None:
    """``--out`` and ``--overwrite``."""
    parser.add_argument("--out", type=Path, help="folder for the results (default: below runs/)")
    parser.add_argument(
        "--overwrite", action="store_true", help="write over a finished run in that folder"
    )


def open_out(args: argparse.Namespace, default: str) -> Path:
    """The folder of the results; a finished run in it is refused."""
    out: Path = args.out or Path("runs") / default
    if out.is_file():
        raise ConfigError(f"--out {out} is a file: name a folder.")
    return refuse_finished(out, args.overwrite)


def parse_with_overrides(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """The verb's own options, and the parameters of the recipe that were set beside them."""
    parser.epilog = f"{parser.epilog}\n\nany parameter of the recipe: --section.name value"
    overrides, others = split_overrides(words)
    return parser.parse_args(others), overrides


def positive(text: str) -> int:
    """An int of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return int(text)


def shape(text: str) -> tuple[int, ...]:
    """``1,28,28`` to (1, 28, 28)."""
    parts = text.replace("x", ",").split(",")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected a shape such as 1,28,28, got {text!r}")
    return tuple(int(part) for part in parts)
