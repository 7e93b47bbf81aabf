"""``synfire VERB``: one file a verb in :mod:`synfire.cli.verbs`."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

from synfire.core.errors import SynfireError, UnknownNameError

__all__ = ["main", "verb_names"]


def verb_names() -> list[str]:
    """Names of the verbs: the modules of :mod:`synfire.cli.verbs`."""
    package = importlib.import_module("synfire.cli.verbs")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; exit code 0: done, 1: it found a difference, 2: an error, in one sentence.

    Example:
        >>> main(["models", "spiking_cnn_ti*"])  # doctest: +ELLIPSIS
        model ...
        spiking_cnn_tiny ...
        0
    """
    # Threads that wait without spinning: several times faster beside other work. Read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        return _dispatch([word for word in words if word != "--debug"])
    except SynfireError as error:
        if debug:
            raise
        print(f"synfire: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("synfire: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(importlib.import_module("synfire").__version__)
        return 0
    name, rest = words[0], words[1:]
    if name not in verb_names():
        raise UnknownNameError("verb", name, verb_names())
    verb = _module(name)
    code: int = verb.run(_parser(name, verb), rest)
    return code


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"synfire.cli.verbs.{name}")


def _parser(name: str, verb: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"synfire {name}",
        description=verb.__doc__,
        epilog=f"example:\n  {verb.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _overview() -> str:
    lines = [
        "usage: synfire VERB [options]    (synfire VERB --help shows an example)",
        "",
        "verbs:",
    ]
    for name in verb_names():
        purpose = (_module(name).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<10}{purpose}")
    return "\n".join(lines)
