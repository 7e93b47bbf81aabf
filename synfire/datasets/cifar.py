"""CIFAR-10 and CIFAR-100 as their owners publish them: python batches or binary batches."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from synfire.core.errors import DataError
from synfire.datasets.images import TensorImages
from synfire.datasets.registry import FolderDataset, Parts, datasets

PIXELS = 3 * 32 * 32
ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads containers, numbers, strings and numpy arrays; any other global raises, uncalled."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data file needs")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_python_batch(path: Path, label_key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [N, 3, 32, 32] and labels int64 [N] of one python batch; runs no code of it."""
    content = _read(path)
    try:
        batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
    ) as error:
        raise DataError(f"{path} is not a CIFAR python batch: {error}.") from error
    if not isinstance(batch, dict) or b"data" not in batch or label_key not in batch:
        raise DataError(f"{path}: expected a dict with {label_key.decode()!r} and 'data'.")
    pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[label_key])
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise DataError(
            f"{path}: expected data uint8 [N, {PIXELS}], got {pixels.dtype} {pixels.shape}."
        )
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise DataError(
            f"{path}: expected {len(pixels)} integer labels, got {labels.dtype} {labels.shape}."
        )
    return pixels.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def read_binary_batch(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of one binary batch.

    A record is ``label_bytes`` bytes, of which the last is the label, and 3,072 pixels.
    """
    content = np.frombuffer(_read(path), np.uint8)
    record = label_bytes + PIXELS
    if len(content) == 0 or len(content) % record:
        raise DataError(
            f"{path} is truncated: expected records of {record} bytes, got {len(content)} bytes."
        )
    records = content.reshape(-1, record)
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return pixels, records[:, label_bytes - 1].astype(np.int64)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class Cifar(FolderDataset):
    """What the two sets share; python batches are taken where both kinds lie in the folder."""

    train_files: ClassVar[tuple[str, ...]]
    test_files: ClassVar[tuple[str, ...]]
    label_key: ClassVar[bytes]
    label_bytes: ClassVar[int]

    def read(self) -> Parts:
        train = self._images(self.train_files)
        test = self._images(self.test_files)
        return Parts(train, test, self.class_names())

    def class_names(self) -> tuple[str, ...]:
        """Names in label order."""
        raise NotImplementedError

    def _images(self, names: tuple[str, ...]) -> TensorImages:
        batches = [self._batch(self.folder(), name) for name in names]
        pixels = np.concatenate([pixels for pixels, _ in batches])
        labels = np.concatenate([labels for _, labels in batches])
        return TensorImages(torch.from_numpy(pixels), torch.from_numpy(labels))

    def _batch(self, folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
        file, binary = folder / name, folder / f"{name}.bin"
        if file.is_file():
            pixels, labels = read_python_batch(file, self.label_key)
        elif binary.is_file():
            file = binary
            pixels, labels = read_binary_batch(file, self.label_bytes)
        else:
            raise DataError(f"{folder}: expected {name} (python version) or {name}.bin (binary).")
        last = len(self.class_names()) - 1
        if len(labels) == 0 or labels.min() < 0 or labels.max() > last:
            raise DataError(
                f"{file}: expected labels in 0..{last}, got {sorted(set(labels))[-3:]}."
            )
        return pixels, labels


@datasets.register("cifar10")
@dataclass(frozen=True)
class Cifar10(Cifar):
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 images of 32 x 32 pixels.

    Args:
        root: ``cifar-10-batches-py`` or ``cifar-10-batches-bin``.
    """

    train_files: ClassVar[tuple[str, ...]] = tuple(f"data_batch_{i}" for i in range(1, 6))
    test_files: ClassVar[tuple[str, ...]] = ("test_batch",)
    label_key: ClassVar[bytes] = b"labels"
    label_bytes: ClassVar[int] = 1

    @property
    def title(self) -> str:
        return "CIFAR-10"

    def class_names(self) -> tuple[str, ...]:
        return (
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        )


@datasets.register("cifar100")
@dataclass(frozen=True)
class Cifar100(Cifar):
    """CIFAR-100 with its 100 fine labels.

    Args:
        root: ``cifar-100-python`` or ``cifar-100-binary``.
    """

    train_files: ClassVar[tuple[str, ...]] = ("train",)
    test_files: ClassVar[tuple[str, ...]] = ("test",)
    label_key: ClassVar[bytes] = b"fine_labels"
    label_bytes: ClassVar[int] = 2

    @property
    def title(self) -> str:
        return "CIFAR-100"

    def class_names(self) -> tuple[str, ...]:
        return tuple(f"class {i}" for i in range(100))
