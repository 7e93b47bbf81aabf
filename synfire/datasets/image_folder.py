"""Images in class folders, ``train/<class>/*`` and ``test/<class>/*``, in any format of Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synfire.core.errors import ConfigError, DataError
from synfire.core.optional import require
from synfire.datasets.images import FileImages, Images
from synfire.datasets.registry import FolderDataset, Parts, datasets

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def read_image(path: Path, channels: int, size: tuple[int, int] | None, resize: bool) -> Tensor:
    """Decode one image to uint8 [channels, H, W].

    Args:
        channels: 1 (grey) or 3 (RGB).
        size: height and width that are expected; None takes any.
        resize: bring other sizes to ``size`` (bilinear) instead of raising DataError.
    """
    pillow = require("PIL.Image", "train")
    try:
        with pillow.open(path) as image:
            image = image.convert("L" if channels == 1 else "RGB")
            if size is not None and (image.height, image.width) != size:
                if not resize:
                    raise DataError(
                        f"{path}: expected an image of {size[0]} x {size[1]} pixels, "
                        f"got {image.height} x {image.width}; set data.resize to scale it."
                    )
                image = image.resize((size[1], size[0]), pillow.Resampling.BILINEAR)
            pixels = np.array(image)
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for broken PNG
        raise DataError(f"{path} cannot be read as an image: {error}.") from error
    return (
        torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1).contiguous()
    )


@datasets.register("image_folder")
@dataclass(frozen=True)
class ImageFolder(FolderDataset):
    """Class folders below ``train`` and ``test``.

    Args:
        root: folder with ``train/<class>/`` and ``test/<class>/``; both must hold the same classes.
        size: height and width; (0, 0) takes the size of the first training image for all.
        resize: scale images of another size instead of refusing them.
        channels: 3 (RGB) or 1 (grey).
        lazy: decode when a batch is read, instead of once into memory.
        classes: order of the classes; empty: sorted folder names.
    """

    size: tuple[int, int] = (0, 0)
    resize: bool = False
    channels: int = 3
    lazy: bool = False
    classes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return "the image folder"

    def read(self) -> Parts:
        if self.channels not in (1, 3):
            raise ConfigError(f"data.channels must be 1 (grey) or 3 (RGB), got {self.channels}.")
        root = self.folder()
        classes = self.classes or class_names(root / "train")
        files = {part: class_files(root / part, classes) for part in ("train", "test")}
        size = self.size if any(self.size) else self._size_of(files["train"][0][0])
        decode = partial(read_image, channels=self.channels, size=size, resize=self.resize)
        train, test = (self._images(files[part], decode) for part in ("train", "test"))
        return Parts(train, test, tuple(classes))

    def _images(self, files: list[tuple[Path, int]], decode: partial[Tensor]) -> Images:
        labels = torch.tensor([label for _, label in files])
        images = FileImages(tuple(file for file, _ in files), labels, decode)
        return images if self.lazy else images.in_memory()

    def _size_of(self, file: Path) -> tuple[int, int]:
        _, height, width = read_image(file, self.channels, None, False).shape
        return height, width


def class_names(folder: Path) -> tuple[str, ...]:
    """Sorted names of the class folders in ``folder``."""
    if not folder.is_dir():
        raise DataError(f"{folder} is missing: expected one folder a class in {folder}.")
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    if len(names) < 2:
        raise DataError(f"{folder}: expected at least two class folders, found {len(names)}.")
    return names


def class_files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Image files of each class folder, and their labels."""
    found = class_names(folder)
    if set(found) != set(classes):
        odd = ", ".join(sorted(set(found) ^ set(classes)))
        raise DataError(
            f"{folder}: expected the classes {', '.join(classes)}; these differ: {odd}."
        )
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        images = sorted(f for f in (folder / name).iterdir() if f.suffix.lower() in SUFFIXES)
        if not images:
            raise DataError(f"{folder / name} holds no image ({', '.join(SUFFIXES[:3])}, ...).")
        files += [(file, label) for file in images]
    return files
