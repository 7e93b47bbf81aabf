"""Where a verb's net comes from: a training, a saved model, or shipped weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from synfire.core.errors import CheckpointError, ConfigError, UnknownNameError
from synfire.core.models import CONFIG, create_model, list_models, load
from synfire.core.registry import pretrained
from synfire.datasets import Splits
from synfire.training import Recipe, list_recipes, load_recipe
from synfire.training.fitting import RECIPE
from synfire.training.initialisation import MODEL, result_folder


@dataclass
class Source:
    """A net in eval mode, and the recipe it was trained by where that is known."""

    net: Any
    name: str
    recipe: str | Path | None = None

    @property
    def short_name(self) -> str:
        """For the name of a folder."""
        return self.name.strip("/").split("/")[-1]

    def load_recipe(self, named: str | None, overrides: Sequence[str]) -> Recipe:
        """The recipe ``named`` on the command line, else the one of the training."""
        recipe = named or self.recipe
        if recipe is None:
            raise ConfigError(f"nothing tells which data {self.name} is for: add --recipe.")
        return load_recipe(recipe, overrides)

    def may_know(self, recipe: Recipe) -> bool:
        """Whether the data of ``recipe`` divide the training's dataset in another way."""
        if self.recipe is None:
            return False
        trained = load_recipe(self.recipe).data
        where = {"root": "", "limit": 0}
        one, other = (vars(data) | where for data in (trained, recipe.data))
        return type(trained) is type(recipe.data) and one != other

    def load_splits(self, recipe: Recipe) -> Splits:
        """The recipe's data, checked against the net."""
        splits = recipe.data.load()
        options = self.net.config["options"] if self.net is not None else {}
        needed = {"in_channels": splits.in_channels, "num_classes": len(splits.classes)}
        for option, value in needed.items():
            if options.get(option, value) != value:
                raise ConfigError(
                    f"{self.name} has {option}={options[option]}, but {splits.name} needs {value}."
                )
        return splits

    def example(
        self, shape: tuple[int, ...] | None, named: str | None, overrides: Sequence[str]
    ) -> torch.Tensor:
        """A batch of two inputs: of ``shape``, else images of the recipe's data."""
        if shape is not None:
            return torch.zeros(2, *shape)
        splits = self.load_splits(self.load_recipe(named, overrides))
        return splits.test.batch(torch.arange(2))


def open_source(text: str) -> Source:
    """Find the net that ``text`` names.

    Args:
        text: folder of ``synfire train``, ``pipeline`` or ``synfire.save``, or ``model/weights``.
    """
    folder = Path(text)
    for run in (folder, *sorted(folder.glob("seed-*"))):
        if (run / MODEL / CONFIG).is_file():
            return Source(load(result_folder(run)), text, run / RECIPE)
    if (folder / CONFIG).is_file():
        return Source(load(folder), text)
    if folder.is_dir():
        raise CheckpointError(
            f"{folder} holds no trained model: expected {CONFIG} or {MODEL}/{CONFIG}."
        )
    return _shipped(text)


def _shipped(text: str) -> Source:
    models = list_models()  # fills the registry of weights too
    if text not in pretrained:
        raise UnknownNameError("folder or shipped model", text, [*pretrained, *models])
    model, weights = text.split("/", 1)
    net = create_model(model, pretrained=weights).eval()
    return Source(net, text, weights if weights in list_recipes() else None)
