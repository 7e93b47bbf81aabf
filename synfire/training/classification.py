"""The task of image classification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synfire.core.errors import ConfigError
from synfire.datasets import Images, MixedLabels
from synfire.training.distillation import Teacher, both_heads
from synfire.training.evaluation import Evaluation, evaluate, forward
from synfire.training.task_module import Sums, TaskModule


class Classification(TaskModule):
    """Cross-entropy of [B, C, H, W] against labels [B].

    In training mode a net may answer with several logits. Its method ``training_loss(outputs,
    labels, label_smoothing)`` says then what they cost; without one, their cross-entropies are
    averaged. With a teacher there are two, see :class:`synfire.training.distillation.Distillation`.
    The accuracy of the learning curve is that of the last output, on mixed images against the label
    of the larger share.
    """

    mixes = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        teacher = self.recipe.distillation.teacher
        self._teacher = Teacher(teacher) if teacher else None

    def augment(
        self, images: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, Any]:
        images, labels = super().augment(images, targets, generator)
        return (
            self.recipe.mix(images, labels, generator) if self.recipe.mix.on else (images, labels)
        )

    def objective(
        self, images: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, Sums]:
        mixed = MixedLabels(targets, targets, 1.0) if isinstance(targets, Tensor) else targets
        outputs = forward(self.net, images, generator)
        if self._teacher is None:
            loss = self._mixed_loss(outputs, mixed)
        else:
            head, distilled = both_heads(outputs)
            taught = F.cross_entropy(distilled, self._teacher.labels(images))
            weight = self.recipe.distillation.weight
            loss = (1 - weight) * self._mixed_loss(head, mixed) + weight * taught
        logits = outputs if isinstance(outputs, Tensor) else outputs[-1]
        labels = mixed.first if mixed.share >= 0.5 else mixed.second
        return loss, {"accuracy": _right(logits, labels)}

    def assess(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> Sums:
        logits = forward(self.net, images, generator)
        if not isinstance(logits, Tensor):
            raise ConfigError("in eval mode a net must answer with one tensor of logits.")
        loss = F.cross_entropy(logits, targets, reduction="sum")
        return {"loss": loss, "accuracy": _right(logits, targets)}

    @classmethod
    def evaluate(
        cls,
        net: nn.Module,
        images: Images,
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evaluation:
        return evaluate(net, images, batch_size, progress=progress)

    def _mixed_loss(self, outputs: Tensor | tuple[Tensor, ...], labels: MixedLabels) -> Tensor:
        if labels.share == 1:
            return self._loss(outputs, labels.first)
        # Cross-entropy is linear in its target: that of a soft label is the mean of two hard ones.
        first, second = (self._loss(outputs, part) for part in (labels.first, labels.second))
        return labels.share * first + (1 - labels.share) * second

    def _loss(self, outputs: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
        smoothing = self.recipe.train.label_smoothing
        own: Callable[..., Tensor] | None = getattr(self.net, "training_loss", None)
        if own is not None:
            return own(outputs, labels, smoothing)
        several = (outputs,) if isinstance(outputs, Tensor) else outputs
        losses = [F.cross_entropy(logits, labels, label_smoothing=smoothing) for logits in several]
        return torch.stack(losses).mean()


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().argmax(dim=1) == labels).sum()
