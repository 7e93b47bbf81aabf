"""The trainer's own checkpoint: written whole or not at all, read without running code from it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from synfire.core.errors import CheckpointError
from synfire.core.files import write_atomic

LAST = "last.ckpt"


class AtomicCheckpointIO(CheckpointIO):
    """Writes whole files; reads tensors and plain containers only, after a check of their CRCs."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        write_atomic(Path(path), lambda temporary: torch.save(checkpoint, temporary))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return _read_tensors(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; one that is damaged or something else raises CheckpointError."""
    content = _read_tensors(path)
    if not {"loops", "state_dict", "history"} <= content.keys():
        raise CheckpointError(f"{path} is not a training checkpoint: start anew with --overwrite.")
    return content


def _read_tensors(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} fails its checksum")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} is damaged ({reason}): start anew with --overwrite, or restore the file."
        ) from error
    return content


class SaveLast(Checkpoint):
    """Writes ``last.ckpt`` at the end of every epoch."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LAST

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)
