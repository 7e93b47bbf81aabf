"""Which images a step sees: a seeded order, whole batches at a time, shared out among the ranks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from synfire.core.errors import ConfigError
from synfire.datasets import AugmentedImages, Images, PictureAugmentation
from synfire.training.seeding import Stream, derive_generator, derive_rng


class SeededBatches(Sampler[Tensor]):
    """Indices of each training batch of one rank.

    The order follows from (seed, epoch) alone. A batch of the whole run is dealt out to the ranks,
    so that R ranks see together what one process would see. A remainder that fills no batch is left
    out of its epoch.

    Args:
        length: number of images.
        batch_size: images of one step over all ranks; at most ``length`` is used.
        seed: of the run.
        rank, ranks: this process and how many there are.

    Example:
        >>> batches = [SeededBatches(10, 4, seed=0, rank=r, ranks=2) for r in range(2)]
        >>> whole = SeededBatches(10, 4, seed=0)
        >>> first = [next(iter(b)).tolist() for b in (whole, *batches)]
        >>> sorted(first[1] + first[2]) == sorted(first[0]), len(whole)
        (True, 2)
    """

    def __init__(
        self, length: int, batch_size: int, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        self.length, self.seed, self.rank, self.ranks = length, seed, rank, ranks
        self.batch_size = min(batch_size, length)
        self.epoch = 0
        if batch_size < 1:
            raise ConfigError(f"train.batch_size must be at least 1, got {batch_size}.")
        if self.batch_size % ranks:
            raise ConfigError(
                f"train.batch_size={self.batch_size} must be a multiple of the {ranks} processes."
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        generator = derive_generator(Stream.ORDER, self.seed, self.epoch)
        order = torch.randperm(self.length, generator=generator)
        for step in range(len(self)):
            whole = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield whole[self.rank :: self.ranks]


class BatchView(Dataset[tuple[Tensor, Tensor]]):
    """Lets a loader fetch a whole batch of images by one tensor of indices."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.images.batch(indices), self.images.targets(indices)


class TrainingView(BatchView):
    """A :class:`BatchView` that augments photographs; each by a generator of (seed, epoch, index).

    Args:
        images: of a training.
        augment: what happens to each photograph; other images come as they are.
        batches: tells seed and epoch.
    """

    def __init__(
        self, images: Images, augment: PictureAugmentation, batches: SeededBatches
    ) -> None:
        super().__init__(images)
        self.augment, self.batches = augment, batches

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(self.images, AugmentedImages):
            return super().__getitem__(indices)
        place = self.batches.seed, self.batches.epoch
        rngs = [derive_rng(Stream.PICTURE, *place, index) for index in indices.tolist()]
        return self.images.augmented(indices, self.augment, rngs), self.images.targets(indices)


class InOrder(Sampler[Tensor]):
    """Batches of indices in file order, every image once over all ranks."""

    def __init__(self, length: int, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.batches = torch.arange(length)[rank::ranks].split(batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.batches)
