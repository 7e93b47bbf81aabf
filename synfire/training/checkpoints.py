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
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; a damaged one raises CheckpointError."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} fails its checksum")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} is damaged ({reason}): start anew with --overwrite, or restore the file."
        ) from error
    if not isinstance(content, dict) or "loops" not in content or "state_dict" not in content:
        raise CheckpointError(f"{path} is not a training checkpoint: start anew with --overwrite.")
    return content


class SaveLast(Checkpoint):
    """Writes ``last.ckpt`` at the end of every epoch."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LAST

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)
