"""The Lightning module of image classification."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from synfire.core.errors import InputError
from synfire.training.budget import OperationMeter
from synfire.training.evaluation import forward
from synfire.training.recipe import Recipe
from synfire.training.seeding import Stream, derive_generator, derive_seed

SUMS = ("loss", "right", "images", "operations")


class Classification(LightningModule):
    """Cross-entropy plus the spike budget; every random number follows from its place in the run.

    Args:
        net: [B, C, H, W] to logits [B, classes].
        recipe: what to do.
        meter: counts synaptic operations (None: a net without neurons).
        steps_per_epoch: optimiser steps of one epoch.
    """

    def __init__(
        self, net: nn.Module, recipe: Recipe, meter: OperationMeter | None, steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.net = net
        self.recipe = recipe
        self.meter = meter
        self.steps_per_epoch = steps_per_epoch
        self.history: list[dict[str, float]] = []
        self._sums = {
            part: torch.zeros(len(SUMS), dtype=torch.float64) for part in ("train", "watch")
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        place = (self.recipe.train.seed, self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(derive_seed(Stream.GLOBAL, *place))
        images, labels = batch
        images = self.recipe.augment(images, derive_generator(Stream.AUGMENTATION, *place))
        encoder = derive_generator(Stream.ENCODER, *place)
        if self.meter is None:
            logits, operations = forward(self.net, images, encoder), None
            penalty = logits.new_zeros(())
        else:
            with self.meter.measure(len(images)) as counted:
                logits = forward(self.net, images, encoder)
            operations = counted.total
            strength = self.recipe.budget.strength(self._progress(batch_idx))
            penalty = strength * self.recipe.budget.penalty(operations, counted.ceiling)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.train.label_smoothing)
        self._add("train", loss, logits, labels, operations)
        return loss + penalty

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        encoder = derive_generator(Stream.ENCODER, self.recipe.train.seed, batch_idx)
        logits = forward(self.net, images, encoder)
        self._add("watch", F.cross_entropy(logits, labels), logits, labels, None)

    def on_train_epoch_end(self) -> None:
        record = {"epoch": float(self.current_epoch + 1)} | self._record("train")
        record["learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        record |= self._record("watch")
        self.history.append(record)
        for logger in self.loggers:
            logger.log_metrics({k: v for k, v in record.items() if k != "epoch"}, self.global_step)

    def configure_optimizers(self) -> Any:
        optimiser = self.recipe.optimiser.build(self.net)
        epochs = self.recipe.train.epochs
        scheduler = self.recipe.schedule.build(optimiser, epochs, self.steps_per_epoch)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]

    def _progress(self, step: int) -> float:
        return (self.current_epoch + step / self.steps_per_epoch) / self.recipe.train.epochs

    def _add(
        self, part: str, loss: Tensor, logits: Tensor, labels: Tensor, operations: Tensor | None
    ) -> None:
        right = (logits.detach().argmax(dim=1) == labels).sum()
        spent = torch.zeros_like(loss) if operations is None else operations.detach()
        images = len(labels)
        row = torch.stack([loss.detach() * images, right, loss.new_tensor(images), spent * images])
        self._sums[part] = self._sums[part].to(row.device) + row.double()

    def _record(self, part: str) -> dict[str, float]:
        """Means of the epoch over all ranks, and a fresh start."""
        sums = self.trainer.strategy.reduce(self._sums[part], reduce_op="sum")
        self._sums[part] = torch.zeros_like(self._sums[part])
        totals = dict(zip(SUMS, sums.tolist(), strict=True))
        images = totals.pop("images")
        if images == 0:
            return {}
        means = {key: value / images for key, value in totals.items()}
        if means["loss"] != means["loss"]:
            raise InputError(
                f"the {part} loss became NaN in epoch {self.current_epoch + 1}: "
                "lower optimiser.lr, set optimiser.clip, or look for NaN in the data."
            )
        name = part if part == "train" else self.recipe.train.watch
        record = {f"{name}_loss": means["loss"], f"{name}_accuracy": means["right"]}
        if part == "train" and self.meter is not None:
            record["operations"] = means["operations"]
        return record
