"""A folder that lies like ImageNet, with a few small photographs of noise and gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = ((40, 28), (28, 40), (33, 33), (64, 30))
"""Width and height of the photographs of a class, in turn."""


def make_imagenet(root: Path, classes: int = 3, train: int = 4, val: int = 2) -> Path:
    """``root/{train,val}/class_i/*.jpg``; a class is a colour."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / part / f"class_{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                width, height = SIZES[index % len(SIZES)]
                pixels = rng.integers(0, 100, (height, width, 3), dtype=np.uint8)
                pixels[:, :, label % 3] += 120
                Image.fromarray(pixels).save(folder / f"{index}.jpg")
    return root
