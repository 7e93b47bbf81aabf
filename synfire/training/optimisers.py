"""Optimisers and the learning-rate schedule of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from synfire.core.errors import ConfigError
from synfire.training.lamb import Lamb

OPTIMISERS = ("adamw", "sgd", "lamb")


@dataclass(frozen=True)
class Optimiser:
    """How weights move.

    Args:
        name: ``adamw``, ``sgd`` (with Nesterov momentum) or ``lamb``.
        lr: largest learning rate.
        base_batch: batch that ``lr`` is meant for: it is multiplied by train.batch_size /
            base_batch; 0: ``lr`` as it stands.
        weight_decay: for weights of two or more axes; biases, norms and neuron parameters have
            none.
        momentum: of sgd; the first beta of adamw and lamb.
        beta2: the second beta of adamw and lamb.
        eps: added to the root of the second moment; 0: the optimiser's own (1e-8, lamb 1e-6).
        trust_clip: lamb's trust ratio does not exceed 1.
        layer_decay: learning rate of a layer as a share of that of the layer above; 1: one rate for
            all. The net says by ``parameter_layers()`` which layer a parameter belongs to.
        clip: largest norm of the whole gradient; 0: not clipped.
        adaptive_clip: largest norm of a row of a gradient, as a share of its weights' norm, in all
            layers but the last (:func:`synfire.training.clipping.clip_adaptively`); 0: not clipped.
    """

    name: str = "adamw"
    lr: float = 2e-3
    base_batch: int = 0
    weight_decay: float = 0.05
    momentum: float = 0.9
    beta2: float = 0.999
    eps: float = 0.0
    trust_clip: bool = False
    layer_decay: float = 1.0
    clip: float = 0.0
    adaptive_clip: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMISERS:
            raise ConfigError(f"optimiser.name must be adamw, sgd or lamb, got {self.name!r}.")
        if self.lr <= 0:
            raise ConfigError(f"optimiser.lr must be above 0, got {self.lr}.")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"optimiser.layer_decay must be in (0, 1], got {self.layer_decay}.")
        if min(self.base_batch, self.eps, self.clip, self.adaptive_clip) < 0:
            raise ConfigError(
                "optimiser.base_batch, eps, clip and adaptive_clip must not be negative."
            )

    def rate(self, batch_size: int) -> float:
        """The largest learning rate of a training with batches of ``batch_size``.

        Example:
            >>> Optimiser(lr=6e-4, base_batch=256).rate(2048)
            0.0048
        """
        return self.lr * batch_size / self.base_batch if self.base_batch else self.lr

    def build(self, net: nn.Module, batch_size: int = 1) -> torch.optim.Optimizer:
        """The optimiser for the parameters of ``net``."""
        lr = self.rate(batch_size)
        groups = self._groups(net, lr)
        betas = (self.momentum, self.beta2)
        if self.name == "sgd":
            return torch.optim.SGD(
                groups, lr=lr, momentum=self.momentum, nesterov=self.momentum > 0
            )
        if self.name == "lamb":
            return Lamb(groups, lr, betas, self.eps or 1e-6, trust_clip=self.trust_clip)
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=self.eps or 1e-8)

    def _groups(self, net: nn.Module, lr: float) -> list[dict[str, Any]]:
        layers = _layers(net) if self.layer_decay < 1 else {}
        top = max(layers.values(), default=0)
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        for name, parameter in net.named_parameters():
            if parameter.requires_grad:
                layer, decayed = layers.get(name, top), parameter.ndim >= 2
                group = groups.setdefault(
                    (layer, decayed),
                    {
                        "params": [],
                        "weight_decay": self.weight_decay if decayed else 0.0,
                        "lr": lr * self.layer_decay ** (top - layer),
                    }
                    | ({"adapt": decayed} if self.name == "lamb" else {}),
                )
                group["params"].append(parameter)
        return [groups[key] for key in sorted(groups, key=lambda key: (key[0], not key[1]))]


def _layers(net: nn.Module) -> Mapping[str, int]:
    """Parameter name to layer: the stem is 0, block i is i + 1, heads are last."""
    parameter_layers: Any = getattr(net, "parameter_layers", None)
    if parameter_layers is None:
        raise ConfigError(
            f"optimiser.layer_decay needs a net that tells its layers by parameter_layers(), which "
            f"{type(net).__name__} does not: set it to 1."
        )
    layers: Mapping[str, int] = parameter_layers()
    unknown = [name for name, _ in net.named_parameters() if name not in layers]
    if unknown:
        raise ConfigError(
            f"parameter_layers() of {type(net).__name__} does not name {unknown[0]!r}."
        )
    return layers


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then half a cosine, step by step (Loshchilov and Hutter 2017).

    With warm-up of w steps from share s, and final share f:

        factor(i) = s + (1 - s) (i + 1) / w                             (i < w)
        factor(i) = f + (1 - f) (1 + cos(pi (i - w) / (steps - w))) / 2   (i >= w)

    Args:
        warmup: epochs of warm-up, fractions allowed.
        start: learning rate before the first step, as a share of the largest.
        final: learning rate at the end, as a share of the largest.
        min_lr: learning rate at the end, in place of ``final``; not scaled by the batch.
    """

    warmup: float = 1.0
    start: float = 0.0
    final: float = 0.0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        if min(self.warmup, self.start, self.final, self.min_lr) < 0:
            raise ConfigError("schedule.warmup, start, final and min_lr must not be negative.")
        if self.final and self.min_lr:
            raise ConfigError("set one of schedule.final and schedule.min_lr.")

    def factor(self, step: int, steps: int, warmup_steps: int, final: float | None = None) -> float:
        """Share of the largest learning rate at ``step`` of ``steps``; ``final`` replaces its own.

        Example:
            >>> [round(Schedule().factor(step, 10, 2), 3) for step in (0, 1, 2, 6, 10)]
            [0.5, 1.0, 1.0, 0.5, 0.0]
        """
        final = self.final if final is None else final
        if step < warmup_steps:
            return self.start + (1.0 - self.start) * (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))

    def build(
        self, optimiser: torch.optim.Optimizer, epochs: int, steps_per_epoch: int
    ) -> torch.optim.lr_scheduler.LambdaLR:
        """The scheduler, to be stepped after each training step."""
        steps, warmup = epochs * steps_per_epoch, round(self.warmup * steps_per_epoch)
        largest = max(group["lr"] for group in optimiser.param_groups)
        final = self.min_lr / largest if self.min_lr else self.final
        return torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: self.factor(step, steps, warmup, final)
        )


@dataclass(frozen=True)
class Average:
    """The exponential moving average of the weights.

    Args:
        decay: share of the old average at each step; 0: none is kept.
        evaluate: the average, not the weights of the last step, is watched and is the result. The
            other is saved too: ``model`` holds the last weights, ``model-average`` the average.
    """

    decay: float = 0.0
    evaluate: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError(f"average.decay must be in [0, 1), got {self.decay}.")
        if self.evaluate and not self.decay:
            raise ConfigError("average.evaluate needs an average: set average.decay above 0.")
