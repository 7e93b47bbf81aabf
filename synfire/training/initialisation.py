"""Weights taken over from another net, where names and shapes agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from synfire.core.errors import CheckpointError, ConfigError
from synfire.core.models import WEIGHTS

MODEL, AVERAGE = "model", "model-average"
"""Folders of a training's last weights and of their moving average."""


@dataclass(frozen=True)
class TakenOver:
    """What became of the tensors of a source and of a net.

    Attributes:
        taken: names that both have in the same shape.
        missing: names of the net that the source does not have.
        unused: names of the source that the net does not have.
        differing: names that both have in different shapes; the net keeps its own.
    """

    taken: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    differing: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.taken)} tensors taken over"]
        for what, names in (
            ("keep their first values", self.missing),
            ("of the source are not used", self.unused),
            ("differ in shape", self.differing),
        ):
            if names:
                listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                parts.append(f"{len(names)} {what} ({listed})")
        return "; ".join(parts)


def result_folder(run: Path) -> Path:
    """The saved model that is the result of the training in ``run``.

    It is the moving average if the recipe evaluates that.
    """
    from synfire.training.recipe import load_recipe

    average = (run / AVERAGE).is_dir() and load_recipe(run / "recipe.yaml").average.evaluate
    return run / (AVERAGE if average else MODEL)


def init_from(net: nn.Module, folder: Path | str) -> TakenOver:
    """Copy weights of a saved model, or of a training's folder, into ``net``.

    Raises:
        CheckpointError: the folder holds no saved model, or a damaged one.
        ConfigError: no tensor of it fits the net.

    Example:
        >>> import tempfile
        >>> from synfire import create_model, save
        >>> one, other = (create_model("spiking_cnn_tiny", num_classes=n) for n in (10, 7))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     said = init_from(other, save(one, folder))
        >>> said.differing
        ('head.bias', 'head.weight')
    """
    source, own = _read(Path(folder)), net.state_dict()
    shared = sorted(own.keys() & source.keys())
    taken = [name for name in shared if own[name].shape == source[name].shape]
    if not taken:
        raise ConfigError(
            f"model.init_from={folder}: none of its {len(source)} tensors fits the net by name and "
            "shape: expected a model of the same family."
        )
    with torch.no_grad():
        for name in taken:
            own[name].copy_(source[name])
    return TakenOver(
        taken=tuple(taken),
        missing=tuple(sorted(own.keys() - source.keys())),
        unused=tuple(sorted(source.keys() - own.keys())),
        differing=tuple(name for name in shared if name not in set(taken)),
    )


def _read(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.is_file():
        path = result_folder(folder) / WEIGHTS
    if not path.is_file():
        raise CheckpointError(
            f"model.init_from={folder} holds no saved model: expected {WEIGHTS} or {MODEL}/{WEIGHTS}."
        )
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
