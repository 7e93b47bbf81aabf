"""The Lightning data module: loaders are made in each process, which knows its rank only there."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from synfire.datasets import Splits
from synfire.training.recipe import Recipe
from synfire.training.sampling import BatchView, InOrder, SeededBatches, TrainingView

EVALUATION_BATCH = 256


class SplitsLoaders(LightningDataModule):
    """Training batches in seeded order, and the part that is watched in file order."""

    def __init__(self, recipe: Recipe, splits: Splits) -> None:
        super().__init__()
        self.recipe = recipe
        self.splits = splits

    def steps_per_epoch(self, ranks: int) -> int:
        """Optimiser steps of one epoch; a batch that cannot be dealt out raises ConfigError."""
        return len(self._batches(0, ranks))

    def train_dataloader(self) -> DataLoader[Any]:
        batches = self._batches(*self._place())
        assert self.trainer is not None
        # A resumed run starts its workers before Lightning tells the sampler the epoch.
        progress: Any = self.trainer.fit_loop.epoch_progress.current
        batches.set_epoch(progress.processed)
        view = TrainingView(self.splits.train, self.recipe.pictures, batches)
        return self._loader(view, batches)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        if self.recipe.train.watch == "none":
            return []
        images = self.splits.part(self.recipe.train.watch)
        order = InOrder(len(images), EVALUATION_BATCH, *self._place())
        return self._loader(BatchView(images), order)

    def _batches(self, rank: int, ranks: int) -> SeededBatches:
        train = self.recipe.train
        return SeededBatches(len(self.splits.train), train.batch_size, train.seed, rank, ranks)

    def _place(self) -> tuple[int, int]:
        assert self.trainer is not None
        return self.trainer.global_rank, self.trainer.world_size

    def _loader(self, view: BatchView, batches: Any) -> DataLoader[Any]:
        workers = self.recipe.train.workers
        return DataLoader(view, sampler=batches, batch_size=None, num_workers=workers)
