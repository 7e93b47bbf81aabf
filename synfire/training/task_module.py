"""What the trainings of all tasks share: seeds, spike budget, learning curve, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from synfire.core.errors import ConfigError, InputError
from synfire.datasets import Images, Splits
from synfire.training.budget import OperationMeter
from synfire.training.clipping import clip_adaptively, clipped_parameters
from synfire.training.metering import operation_meter
from synfire.training.recipe import Recipe
from synfire.training.seeding import Stream, derive_generator, derive_seed

Sums = dict[str, Tensor]
"""What adds up over batches: name to a sum over the images of a batch, of any shape."""


class Assessment(Protocol):
    """What the evaluation of a task finds; ``str`` of it is one line."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        ...


class TaskModule(LightningModule):
    """Base of the Lightning module of a task; every random number follows from its place in the run.

    A task implements :meth:`objective` and :meth:`evaluate`, and may replace the other hooks.

    Args:
        net: the net to train.
        recipe: what to do.
        meter: counts synaptic operations (None: a net without neurons).
        steps_per_epoch: optimiser steps of one epoch.
    """

    mixes = False
    """Whether the task takes mixed images; where it is False, a recipe that mixes is refused."""

    def __init__(
        self, net: nn.Module, recipe: Recipe, meter: OperationMeter | None, steps_per_epoch: int
    ) -> None:
        super().__init__()
        if not self.mixes and (recipe.mix.on or recipe.distillation.teacher):
            raise ConfigError(
                f"the task {recipe.train.task} has no labels to mix or to distil: leave out the sections "
                "mix and distillation of the recipe."
            )
        self.net = net
        self.recipe = recipe
        self.meter = meter
        self.steps_per_epoch = steps_per_epoch
        self.history: list[dict[str, float]] = []
        self._sums: dict[str, Sums] = {"train": {}, "watch": {}}

    def objective(
        self, images: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, Sums]:
        """Loss of a training batch (a mean over its images), and the sums of its curve.

        Args:
            images: [B, C, H, W], augmented.
            targets: what the data gives as ``targets``, as :meth:`augment` left it.
            generator: of this step, on the CPU: for encoders, masks and whatever else is drawn.
        """
        raise NotImplementedError

    def assess(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> Sums:
        """Sums of a batch of the part that is watched, in eval mode."""
        return self.objective(images, targets, generator)[1]

    def summarise(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """An epoch's figures from its sums; ``sums["images"]`` counts the images."""
        images = sums["images"]
        return {key: (value / images).item() for key, value in sums.items() if key != "images"}

    def augment(
        self, images: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, Any]:
        """The recipe's augmentation; a task whose targets lie in the image plane moves them too."""
        return self.recipe.augment(images, generator), targets

    @classmethod
    def model_options(cls, recipe: Recipe, splits: Splits) -> dict[str, Any]:
        """Options of the model that follow from the data; the recipe's own come after them."""
        model = recipe.model
        return {
            "num_classes": len(splits.classes),
            "in_channels": splits.in_channels,
            "levels": model.levels,
            "timesteps": model.timesteps,
        }

    @classmethod
    def operation_meter(cls, net: nn.Module, splits: Splits) -> OperationMeter | None:
        """What counts the net's operations; None: they are not counted."""
        return operation_meter(net, splits)

    @classmethod
    def evaluate(
        cls,
        net: nn.Module,
        images: Images,
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> Assessment:
        """How well ``net`` does on ``images``."""
        raise NotImplementedError

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        place = (self.recipe.train.seed, self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(derive_seed(Stream.GLOBAL, *place))
        images, targets = self.augment(*batch, derive_generator(Stream.AUGMENTATION, *place))
        generator = derive_generator(Stream.ENCODER, *place)
        if self.meter is None:
            loss, sums = self.objective(images, targets, generator)
            penalty = loss.new_zeros(())
        else:
            strength = self.recipe.budget.strength(self._progress(batch_idx))
            with self.meter.measure(len(images), differentiable=strength > 0) as counted:
                loss, sums = self.objective(images, targets, generator)
            penalty = strength * self.recipe.budget.penalty(counted.total, counted.ceiling)
            sums = sums | {"operations": counted.total * len(images)}
        self._add("train", sums | {"loss": loss * len(images)}, len(images))
        return loss + penalty

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, targets = batch
        generator = derive_generator(Stream.ENCODER, self.recipe.train.seed, batch_idx)
        self._add("watch", self.assess(images, targets, generator), len(images))

    def on_train_epoch_end(self) -> None:
        record = {"epoch": float(self.current_epoch + 1)} | self._record("train")
        record["learning_rate"] = max(
            group["lr"] for group in self.trainer.optimizers[0].param_groups
        )
        record |= self._record("watch")
        self.history.append(record)
        for logger in self.loggers:
            logger.log_metrics({k: v for k, v in record.items() if k != "epoch"}, self.global_step)

    def configure_optimizers(self) -> Any:
        batch, epochs = self.recipe.train.batch_size, self.recipe.train.epochs
        optimiser = self.recipe.optimiser.build(self.net, batch)
        scheduler = self.recipe.schedule.build(optimiser, epochs, self.steps_per_epoch)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        factor = self.recipe.optimiser.adaptive_clip
        if factor:
            clip_adaptively(clipped_parameters(self.net), factor)
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]

    def _progress(self, step: int) -> float:
        return (self.current_epoch + step / self.steps_per_epoch) / self.recipe.train.epochs

    def _add(self, part: str, sums: Sums, images: int) -> None:
        kept = self._sums[part]
        for key, value in (sums | {"images": torch.tensor(images, device=self.device)}).items():
            row = value.detach().double()
            kept[key] = kept[key] + row if key in kept else row

    def _record(self, part: str) -> dict[str, float]:
        """Figures of the epoch over all ranks, and a fresh start."""
        kept, self._sums[part] = self._sums[part], {}
        if not kept:
            return {}
        reduce = self.trainer.strategy.reduce
        figures = self.summarise({k: reduce(v, reduce_op="sum") for k, v in kept.items()})
        if figures["loss"] != figures["loss"]:
            raise InputError(
                f"the {part} loss became NaN in epoch {self.current_epoch + 1}: "
                "lower optimiser.lr, set optimiser.clip, or look for NaN in the data."
            )
        name = part if part == "train" else self.recipe.train.watch
        operations = figures.pop("operations", None)
        record = {f"{name}_{key}": value for key, value in figures.items()}
        return record if operations is None else record | {"operations": operations}
