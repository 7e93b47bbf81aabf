"""RandAugment on Pillow images, with magnitudes that vary and rise (Cubuk et al. 2020).

Fifteen operations, each a function of an image and a strength in [0, 1]; at strength 0 an image is
hardly changed. The published ImageNet recipes ran on these very operations of Pillow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from synfire.core.errors import ConfigError
from synfire.core.optional import require

FILL = (124, 116, 104)
"""Colour of what lies outside of a moved image: the mean of ImageNet."""

LARGEST_ANGLE, LARGEST_SHEAR, LARGEST_SHIFT, LARGEST_ENHANCEMENT = 30.0, 0.3, 0.45, 0.9

Picture = Any
Operation = Callable[[Picture, float, Generator], Picture]


def _sign(rng: Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _move(image: Picture, matrix: tuple[float, ...]) -> Picture:
    pillow = require("PIL.Image", "train")
    return image.transform(
        image.size,
        pillow.Transform.AFFINE,
        matrix,
        resample=pillow.Resampling.BICUBIC,
        fillcolor=FILL,
    )


def _shear_x(image: Picture, strength: float, rng: Generator) -> Picture:
    return _move(image, (1, _sign(rng) * LARGEST_SHEAR * strength, 0, 0, 1, 0))


def _shear_y(image: Picture, strength: float, rng: Generator) -> Picture:
    return _move(image, (1, 0, 0, _sign(rng) * LARGEST_SHEAR * strength, 1, 0))


def _shift_x(image: Picture, strength: float, rng: Generator) -> Picture:
    return _move(image, (1, 0, _sign(rng) * LARGEST_SHIFT * strength * image.width, 0, 1, 0))


def _shift_y(image: Picture, strength: float, rng: Generator) -> Picture:
    return _move(image, (1, 0, 0, 0, 1, _sign(rng) * LARGEST_SHIFT * strength * image.height))


def _rotate(image: Picture, strength: float, rng: Generator) -> Picture:
    pillow = require("PIL.Image", "train")
    angle = _sign(rng) * LARGEST_ANGLE * strength
    return image.rotate(angle, resample=pillow.Resampling.BICUBIC, fillcolor=FILL)


def _enhance(kind: str, image: Picture, strength: float, rng: Generator) -> Picture:
    factor = max(0.1, 1.0 + _sign(rng) * LARGEST_ENHANCEMENT * strength)
    return getattr(require("PIL.ImageEnhance", "train"), kind)(image).enhance(factor)


def _plain(kind: str, image: Picture, strength: float, rng: Generator) -> Picture:
    return getattr(require("PIL.ImageOps", "train"), kind)(image)


def _posterize(image: Picture, strength: float, rng: Generator) -> Picture:
    bits = 4 - int(4 * strength)
    if bits == 0:
        return image.point([0] * 256 * len(image.getbands()))
    return require("PIL.ImageOps", "train").posterize(image, bits)


def _solarize(image: Picture, strength: float, rng: Generator) -> Picture:
    return require("PIL.ImageOps", "train").solarize(image, 256 - int(256 * strength))


def _solarize_add(image: Picture, strength: float, rng: Generator) -> Picture:
    more = int(110 * strength)
    table = [min(255, value + more) if value < 128 else value for value in range(256)]
    return image.point(table * len(image.getbands()))


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": partial(_plain, "autocontrast"),
    "equalize": partial(_plain, "equalize"),
    "invert": partial(_plain, "invert"),
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": partial(_enhance, "Color"),
    "contrast": partial(_enhance, "Contrast"),
    "brightness": partial(_enhance, "Brightness"),
    "sharpness": partial(_enhance, "Sharpness"),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "shift_x": _shift_x,
    "shift_y": _shift_y,
}


@dataclass(frozen=True)
class RandAugment:
    """Some operations in a row, chosen and measured anew for each image.

    Args:
        magnitude: mean strength, in tenths.
        deviation: standard deviation of the strength, in tenths.
        layers: operations in a row.
        probability: of each being carried out.

    Example:
        >>> from PIL import Image
        >>> picture = Image.new("RGB", (8, 8), (10, 200, 30))
        >>> RandAugment.parse("m9-mstd0.5-inc1")(picture, np.random.default_rng(0)).size
        (8, 8)
    """

    magnitude: float = 9.0
    deviation: float = 0.5
    layers: int = 2
    probability: float = 0.5

    @classmethod
    def parse(cls, text: str) -> RandAugment:
        """From the words of the literature: ``m9-mstd0.5-inc1``, with ``n2`` and ``p0.5`` if wanted."""
        words = dict(re.findall(r"(?:^|-)(mstd|inc|m|n|p)(\d+(?:\.\d+)?)(?=-|$)", text))
        if "-".join(f"{k}{v}" for k, v in words.items()) != text or words.get("inc") != "1":
            raise ConfigError(
                f"a RandAugment policy reads like m9-mstd0.5-inc1 (with rising strengths), got {text!r}."
            )
        return cls(
            magnitude=float(words.get("m", 9)),
            deviation=float(words.get("mstd", 0)),
            layers=int(words.get("n", 2)),
            probability=float(words.get("p", 0.5)),
        )

    def __call__(self, image: Picture, rng: Generator) -> Picture:
        names = list(OPERATIONS)
        for index in rng.integers(len(names), size=self.layers):
            if rng.random() < self.probability:
                strength = np.clip(rng.normal(self.magnitude, self.deviation), 0, 10) / 10
                image = OPERATIONS[names[index]](image, float(strength), rng)
        return image
