"""Hard distillation: a second head learns what a teacher says (Touvron et al. 2021, DeiT)."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from synfire.core.errors import CheckpointError, ConfigError
from synfire.core.models import CONFIG, load
from synfire.training.initialisation import result_folder

EXPORTED, SCRIPTED = (".pt2",), (".pt", ".pth", ".ts")


@dataclass(frozen=True)
class Distillation:
    """Who teaches.

        loss = (1 - weight) * CE(head, labels) + weight * CE(distillation head, argmax of the teacher)

    In training mode the net answers with the pair of logits, as ``e_spikeformer_83m`` does.

    Args:
        teacher: a saved model or a training of synfire, a ``torch.export`` file (``.pt2``), or a
            TorchScript file (``.pt``, ``.pth``, ``.ts``); it gets the same images as the net. Empty: no
            distillation.
        weight: of the teacher's part.
    """

    teacher: str = ""
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConfigError(f"distillation.weight must be in (0, 1], got {self.weight}.")


class Teacher:
    """A net that only answers; no module, so that it is in no checkpoint of the pupil.

    Args:
        path: see :class:`Distillation`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.net = open_teacher(self.path)
        self._device: torch.device | None = None

    @torch.no_grad()
    def labels(self, images: Tensor) -> Tensor:
        """int64 [B]: the classes that the teacher finds most likely."""
        if self._device != images.device:
            self.net.to(images.device)
            self._device = images.device
        logits = self.net(images)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise ConfigError(f"the teacher {self.path} must answer with logits [B, classes].")
        return logits.argmax(dim=1)


def open_teacher(path: Path) -> nn.Module:
    """Read a teacher, in eval mode.

    Raises:
        CheckpointError: there is no such file, or it cannot be read.
    """
    if path.is_dir():
        folder = path if (path / CONFIG).is_file() else result_folder(path)
        saved: nn.Module = load(folder)
        return saved
    if not path.is_file():
        raise CheckpointError(f"distillation.teacher={path}: there is no such file or folder.")
    try:
        if path.suffix in EXPORTED:
            return torch.export.load(path).module()
        if path.suffix in SCRIPTED:
            scripted: nn.Module = torch.jit.load(path, map_location="cpu")
            return scripted.eval()
    except (zipfile.BadZipFile, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"distillation.teacher={path} cannot be read: {reason}") from error
    raise ConfigError(
        f"distillation.teacher={path}: expected a folder of a saved model, or a file "
        f"{', '.join((*EXPORTED, *SCRIPTED))}."
    )


def both_heads(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Logits of both heads; anything else raises ConfigError."""
    if isinstance(outputs, Tensor) or len(outputs) != 2:
        raise ConfigError(
            "distillation needs a net that answers with two logits in training: choose a model with "
            "a distillation head, or leave distillation.teacher empty."
        )
    return outputs[0], outputs[1]
