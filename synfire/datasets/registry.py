"""Datasets by name: each is a dataclass of its options; ``load`` adds what all have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from synfire.core.errors import ConfigError, DataError
from synfire.core.registry import Registry
from synfire.datasets.images import Images, Splits, hold_out

datasets: Registry[type[Dataset]] = Registry("dataset")
"""Dataset name to the dataclass of its options."""


@dataclass(frozen=True)
class Parts:
    """What a reader returns: training and test images as they lie on disk, and the class names."""

    train: Images
    test: Images
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Options that every dataset has.

    Args:
        validation: share of the training images held out for choosing hyper-parameters, in [0, 1).
        split_seed: seed of that choice.
        limit: keep only this many images of each part (0: all), for quick trials.
    """

    validation: float = 0.0
    split_seed: int = 0
    limit: int = 0

    def read(self) -> Parts:
        """Read train and test."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """Name in messages."""
        return type(self).__name__

    def load(self) -> Splits:
        """Read, check, and hold out the validation part."""
        if self.limit < 0:
            raise ConfigError(f"limit must be 0 (all) or more images, got {self.limit}.")
        parts = self.read()
        test = _first(parts.test, self.limit)
        kept, held = hold_out(parts.train.labels, self.validation, self.split_seed)
        if self.limit:
            kept, held = _spread(kept, self.limit), held[: self.limit]
        for name, images in (("training", parts.train), ("test", test)):
            if len(images) == 0:
                raise DataError(f"{self.title}: the {name} part holds no image.")
        shape = test.batch(torch.tensor([0])).shape
        return Splits(
            name=self.title,
            train=parts.train.subset(kept),
            validation=parts.train.subset(held),
            test=test,
            classes=parts.classes,
            in_channels=shape[1],
            image_size=(shape[2], shape[3]),
        )


@dataclass(frozen=True)
class FolderDataset(Dataset):
    """A dataset that lies in a folder.

    Args:
        root: the folder.
    """

    root: str = ""

    def folder(self) -> Path:
        """The folder, checked."""
        if not self.root:
            raise ConfigError(f"{self.title} needs the folder of its files: set data.root.")
        folder = Path(self.root).expanduser()
        if not folder.is_dir():
            raise DataError(f"{self.title}: data.root={folder} is not a folder.")
        return folder


def load_dataset(name: str, **options: Any) -> Splits:
    """Load a registered dataset.

    Example:
        >>> splits = load_dataset("digits", validation=0.2)
        >>> len(splits.train), len(splits.validation), len(splits.test), splits.image_size
        (1150, 287, 360, (8, 8))
    """
    return datasets[name](**options).load()


def _first(images: Images, limit: int) -> Images:
    if not limit or limit >= len(images):
        return images
    return images.subset(_spread(torch.arange(len(images)), limit))


def _spread(indices: torch.Tensor, limit: int) -> torch.Tensor:
    # Class folders lie class by class: the first images would be of one class.
    if limit >= len(indices):
        return indices
    return indices[torch.linspace(0, len(indices) - 1, limit).round().long()]
