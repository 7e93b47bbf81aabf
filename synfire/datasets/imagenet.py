"""ImageNet, and whatever lies like it: photographs of any size, decoded when a batch needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from synfire.core.errors import ConfigError, DataError
from synfire.core.optional import require
from synfire.datasets.image_folder import class_files, class_names
from synfire.datasets.pictures import (
    Picture,
    PictureAugmentation,
    check_interpolation,
    erase,
    resize_and_crop,
)
from synfire.datasets.registry import FolderDataset, Parts, datasets
from synfire.datasets.transforms import normalise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pixels of ImageNet, in [0, 1]."""


@dataclass(frozen=True)
class Photographs:
    """Labelled RGB files; a batch is resized and cut, a training batch augmented.

    Args:
        files: one file an image.
        labels: int64 [N].
        size: side of the input.
        resize: length that the shorter side is brought to before the middle is cut out.
        interpolation: ``bicubic`` or ``bilinear``.
        normalised: whether batches are (x - mean) / deviation of ImageNet instead of [0, 1].
    """

    files: tuple[Path, ...]
    labels: Tensor
    size: int
    resize: int
    interpolation: str
    normalised: bool

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> Tensor:
        """float32 [B, 3, size, size]."""
        cut = [
            resize_and_crop(read_rgb(self.files[i]), self.resize, self.size, self.interpolation)
            for i in indices.tolist()
        ]
        return self._finish(_normal(cut))

    def augmented(
        self, indices: Tensor, augment: PictureAugmentation, rngs: Sequence[Generator]
    ) -> Tensor:
        """A training batch; image by image, all that is random comes from the image's own ``rngs``."""
        cut = [
            augment(read_rgb(self.files[i]), self.size, rng)
            for i, rng in zip(indices.tolist(), rngs, strict=True)
        ]
        pixels = _normal(cut)
        for image, rng in zip(pixels, rngs, strict=True):
            erase(image, augment.erase, rng)
        return self._finish(pixels)

    def targets(self, indices: Tensor) -> Tensor:
        """int64 [B]."""
        return self.labels[indices]

    def subset(self, indices: Tensor) -> Photographs:
        """Some of the images."""
        files = tuple(self.files[i] for i in indices.tolist())
        rest = self.size, self.resize, self.interpolation, self.normalised
        return Photographs(files, self.labels[indices], *rest)

    def _finish(self, normal: Tensor) -> Tensor:
        if self.normalised:
            return normal
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        return (normal * std + mean).clamp(0, 1)


def read_rgb(path: Path) -> Picture:
    """Decode one file to an RGB image of Pillow."""
    try:
        with require("PIL.Image", "train").open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for broken PNG
        raise DataError(f"{path} cannot be read as an image: {error}.") from error


def _normal(pictures: list[Picture]) -> Tensor:
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0, MEAN, STD)


@datasets.register("imagenet")
@dataclass(frozen=True)
class ImageNet(FolderDataset):
    """Class folders of photographs of any size below ``train`` and ``val``.

    Files are decoded when they are needed; the crops of a training follow from the recipe's section
    ``pictures``, those of the evaluation from ``size`` and ``resize``.

    Args:
        root: folder with ``train/<class>/`` and ``val/<class>/``; both must hold the same classes.
        size: side of the input.
        resize: length of the shorter side before the middle is cut out; 0: ``size``.
        interpolation: of that resizing: ``bicubic`` or ``bilinear``.
        normalised: subtract the mean and divide by the deviation of ImageNet.
    """

    size: int = 224
    resize: int = 232
    interpolation: str = "bicubic"
    normalised: bool = True

    @property
    def title(self) -> str:
        return "ImageNet"

    def read(self) -> Parts:
        resize = self.resize or self.size
        if self.size < 1 or resize < self.size:
            raise ConfigError(
                f"data.size must be positive and at most data.resize, got {self.size} and {resize}."
            )
        check_interpolation("data.interpolation", self.interpolation)
        root = self.folder()
        classes = class_names(root / "train")
        train, val = (self._part(root / name, classes, resize) for name in ("train", "val"))
        return Parts(train, val, classes)

    def _part(self, folder: Path, classes: tuple[str, ...], resize: int) -> Photographs:
        found = class_files(folder, classes)
        return Photographs(
            files=tuple(file for file, _ in found),
            labels=torch.tensor([label for _, label in found]),
            size=self.size,
            resize=resize,
            interpolation=self.interpolation,
            normalised=self.normalised,
        )
