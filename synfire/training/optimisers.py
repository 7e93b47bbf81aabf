"""Optimisers and the learning-rate schedule of a recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from synfire.core.errors import ConfigError

OPTIMISERS = ("adamw", "sgd")


@dataclass(frozen=True)
class Optimiser:
    """How weights move.

    Args:
        name: ``adamw`` or ``sgd`` (with Nesterov momentum).
        lr: largest learning rate.
        weight_decay: for weights of two or more axes; biases, norms and neuron parameters have
            none.
        momentum: of sgd; the first beta of adamw.
        beta2: the second beta of adamw.
        clip: largest norm of the whole gradient; 0: not clipped.
    """

    name: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    beta2: float = 0.999
    clip: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMISERS:
            raise ConfigError(f"optimiser.name must be adamw or sgd, got {self.name!r}.")
        if self.lr <= 0:
            raise ConfigError(f"optimiser.lr must be above 0, got {self.lr}.")

    def build(self, net: nn.Module) -> torch.optim.Optimizer:
        """The optimiser for the parameters of ``net``."""
        groups = self._groups(net)
        if self.name == "sgd":
            return torch.optim.SGD(
                groups, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0
            )
        return torch.optim.AdamW(groups, lr=self.lr, betas=(self.momentum, self.beta2))

    def _groups(self, net: nn.Module) -> list[dict[str, Any]]:
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        decayed = [parameter for parameter in trained if parameter.ndim >= 2]
        others = [parameter for parameter in trained if parameter.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then half a cosine, step by step (Loshchilov and Hutter 2017).

    Args:
        warmup: epochs of warm-up, fractions allowed.
        final: learning rate at the end, as a share of the largest.
    """

    warmup: float = 1.0
    final: float = 0.0

    def factor(self, step: int, steps: int, warmup_steps: int) -> float:
        """Share of the largest learning rate at ``step`` of ``steps``.

        Example:
            >>> [round(Schedule().factor(step, 10, 2), 3) for step in (0, 1, 2, 6, 10)]
            [0.5, 1.0, 1.0, 0.5, 0.0]
        """
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))

    def build(
        self, optimiser: torch.optim.Optimizer, epochs: int, steps_per_epoch: int
    ) -> torch.optim.lr_scheduler.LambdaLR:
        """The scheduler, to be stepped after each training step."""
        steps, warmup = epochs * steps_per_epoch, round(self.warmup * steps_per_epoch)
        return torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: self.factor(step, steps, warmup)
        )
