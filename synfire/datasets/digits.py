"""The 1,797 handwritten digits (8 x 8 pixels, 43 writers) that scikit-learn ships."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from synfire.core.errors import ConfigError
from synfire.core.optional import require
from synfire.datasets.images import TensorImages
from synfire.datasets.registry import Dataset, Parts, datasets

TEST_SIZE = 360
SPLITS = ("stratified", "writers")


@datasets.register("digits")
@dataclass(frozen=True)
class Digits(Dataset):
    """UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, CC BY 4.0).

    Pixels count the dark points of a 4 x 4 block, 0 to 16; they become [0, 1].

    Args:
        split: ``stratified`` is ``train_test_split(test_size=360, stratify=y, random_state=42)``;
            ``writers`` tests on the last 360 digits, which other people wrote, and is harder.

    Example:
        >>> splits = Digits(split="writers").load()
        >>> len(splits.train), len(splits.test), splits.in_channels, splits.classes[-1]
        (1437, 360, 1, '9')
    """

    split: str = "stratified"

    @property
    def title(self) -> str:
        return "digits"

    def read(self) -> Parts:
        if self.split not in SPLITS:
            raise ConfigError(
                f"data.split of digits must be one of {', '.join(SPLITS)}, got {self.split!r}."
            )
        digits = require("sklearn.datasets", "train").load_digits()
        images = TensorImages(
            torch.from_numpy(digits.images).to(torch.uint8).unsqueeze(1),
            torch.from_numpy(digits.target).long(),
            full_scale=16.0,
        )
        train, test = self._indices(images.labels)
        return Parts(images.subset(train), images.subset(test), tuple("0123456789"))

    def _indices(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.split == "writers":
            return torch.arange(len(labels) - TEST_SIZE), torch.arange(
                len(labels) - TEST_SIZE, len(labels)
            )
        selection = require("sklearn.model_selection", "train")
        train, test = selection.train_test_split(
            range(len(labels)), test_size=TEST_SIZE, stratify=labels.numpy(), random_state=42
        )
        return torch.tensor(train), torch.tensor(test)
