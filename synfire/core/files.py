"""Files appear under their final name only when they are complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synfire.core.errors import RunExistsError

FINISHED = "finished.json"
"""Marks a folder whose run ended; such a folder is never written over unless asked."""


def write_atomic(path: Path | str, write: Callable[[Path], None]) -> Path:
    """Call ``write`` on a temporary neighbour of ``path``, flush it to disk, then rename it to ``path``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path | str, text: str) -> Path:
    """Write text atomically as UTF-8."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_atomic(path, write)


def write_json(path: Path | str, content: Any) -> Path:
    """Write JSON atomically, indented, keys in the order given."""
    return write_text(path, json.dumps(content, indent=1) + "\n")


@contextmanager
def folder_atomic(path: Path | str) -> Iterator[Path]:
    """A temporary neighbour folder that takes the place of ``path`` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        for file in temporary.rglob("*"):  # some writers leave files that only their owner can read
            file.chmod(0o755 if file.is_dir() else 0o644)
        if path.exists():
            retired = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            path.replace(retired / path.name)
            temporary.replace(path)
            shutil.rmtree(retired)
        else:
            temporary.replace(path)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def refuse_finished(folder: Path | str, overwrite: bool = False) -> Path:
    """Raise RunExistsError if ``folder`` holds a finished run; with ``overwrite`` take its mark away instead."""
    folder = Path(folder)
    mark = folder / FINISHED
    if mark.exists():
        if not overwrite:
            raise RunExistsError(
                f"{folder} holds a finished run, which is not written over: "
                "name another --out, or add --overwrite."
            )
        mark.unlink()
    return folder


def mark_finished(folder: Path | str, summary: dict[str, Any]) -> Path:
    """Write the mark of a finished run with its summary."""
    return write_json(Path(folder) / FINISHED, summary)
