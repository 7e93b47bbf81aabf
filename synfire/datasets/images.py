"""Labelled images in memory or on disk, read a batch at a time, and the splits of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, DataError


class Images(Protocol):
    """Images with labels."""

    @property
    def labels(self) -> Tensor:
        """int64 [N]."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """float32 [B, C, H, W] in [0, 1]."""
        ...

    def targets(self, indices: Tensor) -> Tensor:
        """What a net is to answer, [B, ...]: the labels, or what a task needs instead."""
        ...

    def subset(self, indices: Tensor) -> Images:
        """Some of the images."""
        ...


@dataclass(frozen=True)
class TensorImages:
    """Images held in memory as small integers.

    Args:
        pixels: uint8 [N, C, H, W].
        labels: int64 [N].
        full_scale: the pixel value that becomes 1.0.

    Example:
        >>> images = TensorImages(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8), torch.arange(3))
        >>> images.batch(torch.tensor([0, 2])).shape
        torch.Size([2, 1, 2, 2])
    """

    pixels: Tensor
    labels: Tensor
    full_scale: float = 255.0

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise DataError(
                "expected pixels uint8 [N, C, H, W], "
                f"got {self.pixels.dtype} {tuple(self.pixels.shape)}."
            )
        if self.labels.shape != self.pixels.shape[:1]:
            raise DataError(f"there are {len(self.pixels)} images but {len(self.labels)} labels.")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> Tensor:
        return self.pixels[indices].float() / self.full_scale

    def targets(self, indices: Tensor) -> Tensor:
        return self.labels[indices]

    def subset(self, indices: Tensor) -> TensorImages:
        return TensorImages(self.pixels[indices], self.labels[indices], self.full_scale)


@dataclass(frozen=True)
class FileImages:
    """Images that are decoded when a batch asks for them.

    Args:
        files: one file an image.
        labels: int64 [N].
        decode: path to uint8 [C, H, W].
    """

    files: tuple[Path, ...]
    labels: Tensor
    decode: Callable[[Path], Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> Tensor:
        return torch.stack([self.decode(self.files[i]) for i in indices.tolist()]).float() / 255.0

    def targets(self, indices: Tensor) -> Tensor:
        return self.labels[indices]

    def subset(self, indices: Tensor) -> FileImages:
        files = tuple(self.files[i] for i in indices.tolist())
        return FileImages(files, self.labels[indices], self.decode)

    def in_memory(self) -> TensorImages:
        """Decode every file once."""
        return TensorImages(torch.stack([self.decode(file) for file in self.files]), self.labels)


@dataclass(frozen=True)
class Splits:
    """What a dataset gives: parts, class names, and what a model must fit.

    ``validation`` is a part of the training images, for choosing hyper-parameters; empty by
    default.
    """

    name: str
    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]
    in_channels: int
    image_size: tuple[int, int]

    def part(self, name: str) -> Images:
        """``train``, ``validation`` or ``test``; an empty part raises ConfigError."""
        if name not in ("train", "validation", "test"):
            raise ConfigError(f"a part is train, validation or test, got {name!r}.")
        images: Images = getattr(self, name)
        if len(images) == 0:
            raise ConfigError(
                f"the {name} part of {self.name} is empty: set data.validation above 0."
            )
        return images


def hold_out(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices kept and indices held out, the same share of every class, in file order.

    Example:
        >>> kept, held = hold_out(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
        >>> len(kept), len(held), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])[held].tolist()
        (6, 2, [0, 1])
    """
    if not 0.0 <= fraction < 1.0:
        raise ConfigError(f"the validation share must be in [0, 1), got {fraction}.")
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        chosen = torch.randperm(len(members), generator=generator)[: round(fraction * len(members))]
        held[members[chosen]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()
