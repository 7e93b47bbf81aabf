"""Photographs of any size: how one becomes an input, in training and in evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from synfire.core.errors import ConfigError
from synfire.core.optional import require
from synfire.datasets.rand_augment import RandAugment

INTERPOLATIONS = ("bicubic", "bilinear")
TRIES = 10
"""Rectangles drawn before one that fits is given up."""

Picture = Any


@dataclass(frozen=True)
class PictureAugmentation:
    """What happens to one photograph of a training; 0 or an empty text switches a part off.

    In this order: random crop resized to the input, flip, RandAugment, colour jitter, erasing.

    Args:
        crop: smallest and largest share of the area that the crop takes (Szegedy et al. 2015).
        ratio: smallest and largest width / height of the crop.
        interpolation: of the resized crop: ``bicubic`` or ``bilinear``.
        flip: probability of a left-right flip.
        rand_augment: policy such as ``m9-mstd0.5-inc1``.
        colour_jitter: brightness, contrast and saturation change by factors of 1 - x to 1 + x, in
            random order.
        erase: probability that a rectangle of 2 % to a third of the area becomes noise.
    """

    crop: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bicubic"
    flip: float = 0.5
    rand_augment: str = ""
    colour_jitter: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "crop" and high > 1):
                raise ConfigError(
                    f"pictures.{name} is a range of positive shares, got {low}, {high}."
                )
        check_interpolation("pictures.interpolation", self.interpolation)
        if not (0 <= self.flip <= 1 and 0 <= self.erase <= 1 and 0 <= self.colour_jitter <= 1):
            raise ConfigError("pictures.flip, erase and colour_jitter are shares, in [0, 1].")
        self._policy  # noqa: B018  (a wrong one is refused here)

    @cached_property
    def _policy(self) -> RandAugment | None:
        return RandAugment.parse(self.rand_augment) if self.rand_augment else None

    def __call__(self, image: Picture, size: int, rng: Generator) -> Picture:
        """An RGB image to one of size x size; all but erasing, which :func:`erase` does."""
        image = self._crop(image, size, rng)
        if rng.random() < self.flip:
            image = image.transpose(require("PIL.Image", "train").Transpose.FLIP_LEFT_RIGHT)
        if self._policy is not None:
            image = self._policy(image, rng)
        return jitter(image, self.colour_jitter, rng) if self.colour_jitter else image

    def _crop(self, image: Picture, size: int, rng: Generator) -> Picture:
        box = random_box(image.size, self.crop, self.ratio, rng) or central_box(
            image.size, self.ratio
        )
        return image.resize((size, size), resampling(self.interpolation), box=box)


@runtime_checkable
class AugmentedImages(Protocol):
    """Images that are augmented one by one before they are a batch."""

    def augmented(
        self, indices: Tensor, augment: PictureAugmentation, rngs: Sequence[Generator]
    ) -> Tensor:
        """A training batch, float32 [B, C, H, W]; one generator an image."""
        ...


def random_box(
    size: tuple[int, int], area: tuple[float, float], ratio: tuple[float, float], rng: Generator
) -> tuple[int, int, int, int] | None:
    """A rectangle (left, top, right, bottom) within ``size`` (width, height), None if none fits."""
    width, height = size
    for _ in range(TRIES):
        pixels = width * height * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = (int(rng.integers(side + 1)) for side in (width - w, height - h))
            return left, top, left + w, top + h
    return None


def central_box(size: tuple[int, int], ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """The largest rectangle in the middle whose width / height lies in ``ratio``."""
    width, height = size
    w = min(width, round(height * ratio[1]))
    h = min(height, round(width / ratio[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def jitter(image: Picture, amount: float, rng: Generator) -> Picture:
    """Change brightness, contrast and saturation, in random order."""
    enhance = require("PIL.ImageEnhance", "train")
    kinds = (enhance.Brightness, enhance.Contrast, enhance.Color)
    for index in rng.permutation(3):
        image = kinds[index](image).enhance(rng.uniform(max(0.0, 1 - amount), 1 + amount))
    return image


def erase(pixels: Tensor, probability: float, rng: Generator) -> Tensor:
    """Fill a rectangle of [C, H, W] with normal noise (Zhong et al. 2020); in place."""
    if rng.random() < probability:
        _, height, width = pixels.shape
        box = random_box((width, height), (0.02, 1 / 3), (0.3, 1 / 0.3), rng)
        if box is not None:
            part = pixels[:, box[1] : box[3], box[0] : box[2]]
            noise = rng.standard_normal(part.shape, dtype=np.float32)
            part.copy_(torch.from_numpy(noise))
    return pixels


def resize_and_crop(image: Picture, resize: int, size: int, interpolation: str) -> Picture:
    """Bring the shorter side to ``resize`` pixels, then cut ``size`` x ``size`` from the middle."""
    short = min(image.size)
    width, height = (resize * side // short for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), resampling(interpolation))
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def resampling(name: str) -> Any:
    """Pillow's filter of that name."""
    return getattr(require("PIL.Image", "train").Resampling, name.upper())


def check_interpolation(what: str, name: str) -> None:
    """Refuse an unknown interpolation."""
    if name not in INTERPOLATIONS:
        raise ConfigError(f"{what} must be bicubic or bilinear, got {name!r}.")
