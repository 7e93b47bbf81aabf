"""The idx format of MNIST (LeCun): big-endian header, then the values; plain or gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from synfire.core.errors import DataError
from synfire.datasets.images import TensorImages
from synfire.datasets.registry import FolderDataset, Parts, datasets

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
STEMS = {"train": "train", "test": "t10k"}


def read_idx(path: Path | str) -> np.ndarray:
    """Read one idx file, raw or ``.gz``; magic, sizes and length are checked.

    Header: two zero bytes, one byte for the type (8: uint8), one for the number of axes, then each
    size as big-endian uint32.
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES or content[3] == 0:
        raise DataError(
            f"{path} is not an idx file: expected two zero bytes, a type code, a number of axes, "
            f"got {content[:4].hex(' ') or 'an empty file'}."
        )
    axes, dtype = content[3], np.dtype(DTYPES[content[2]])
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(
            f"{path} is truncated: its header needs {start} bytes, the file has {len(content)}."
        )
    shape = struct.unpack(f">{axes}I", content[4:start])
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise DataError(
            f"{path} is {state}: its header announces {' x '.join(map(str, shape))} values, "
            f"that is {expected} bytes, but it has {len(content)}."
        )
    return (
        np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    )


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except OSError as error:  # gzip's own errors are OSErrors too
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is a damaged or truncated gzip file: {error}; fetch it again."
        ) from error


def find_idx(folder: Path, stem: str, what: str) -> Path:
    """The file of ``stem`` (train, t10k) and ``what`` (images, labels) under its usual names."""
    axes = 3 if what == "images" else 1
    names = [f"{stem}-{what}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder} lacks the {stem} {what}: expected a file {names[0]} or {names[1]}.")


@datasets.register("idx")
@dataclass(frozen=True)
class Idx(FolderDataset):
    """Any set of grey images in the four files of MNIST.

    Files: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``,
    ``t10k-labels-idx1-ubyte``, each plain or with ``.gz``.

    Args:
        image_size: height and width that the images must have; (0, 0) takes any.
    """

    image_size: tuple[int, int] = (0, 0)
    names: ClassVar[tuple[str, ...]] = ()

    @property
    def title(self) -> str:
        return "the idx dataset"

    def read(self) -> Parts:
        train, test = (self._part(part) for part in ("train", "test"))
        if train.pixels.shape[2:] != test.pixels.shape[2:]:
            raise DataError(
                f"{self.root}: train images are {tuple(train.pixels.shape[2:])} pixels, "
                f"test images {tuple(test.pixels.shape[2:])}; they must agree."
            )
        known = (
            int(max(train.labels.max(), test.labels.max())) + 1 if len(train) and len(test) else 0
        )
        return Parts(train, test, self.names or tuple(map(str, range(known))))

    def _part(self, part: str) -> TensorImages:
        folder = self.folder()
        images_file = find_idx(folder, STEMS[part], "images")
        labels_file = find_idx(folder, STEMS[part], "labels")
        images, labels = read_idx(images_file), read_idx(labels_file)
        if images.dtype != np.uint8 or images.ndim != 3:
            raise DataError(
                f"{images_file}: expected uint8 [N, H, W], got {images.dtype} {images.shape}."
            )
        if labels.dtype != np.uint8 or labels.ndim != 1:
            raise DataError(
                f"{labels_file}: expected uint8 [N], got {labels.dtype} {labels.shape}."
            )
        if len(images) != len(labels):
            raise DataError(
                f"{images_file} has {len(images)} images, {labels_file} has {len(labels)} labels."
            )
        if any(self.image_size) and images.shape[1:] != tuple(self.image_size):
            raise DataError(
                f"{images_file}: expected images of {self.image_size[0]} x {self.image_size[1]} "
                f"pixels, got {images.shape[1]} x {images.shape[2]}."
            )
        if self.names and len(labels) and labels.max() >= len(self.names):
            raise DataError(f"{labels_file}: label {labels.max()} is above {len(self.names) - 1}.")
        return TensorImages(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())


@datasets.register("mnist")
@dataclass(frozen=True)
class Mnist(Idx):
    """MNIST (LeCun, Cortes, Burges 1998): 60,000 + 10,000 digits of 28 x 28 pixels.

    Args:
        root: folder of the four idx files.
    """

    image_size: tuple[int, int] = (28, 28)
    names: ClassVar[tuple[str, ...]] = tuple("0123456789")

    @property
    def title(self) -> str:
        return "MNIST"


@datasets.register("fashion_mnist")
@dataclass(frozen=True)
class FashionMnist(Idx):
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 + 10,000 articles of 28 x 28 pixels.

    Args:
        root: folder of the four idx files.
    """

    image_size: tuple[int, int] = (28, 28)
    names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip

    @property
    def title(self) -> str:
        return "Fashion-MNIST"
