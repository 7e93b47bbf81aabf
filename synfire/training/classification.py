"""The task of image classification."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synfire.core.errors import ConfigError
from synfire.datasets import Images
from synfire.training.evaluation import Evaluation, evaluate, forward
from synfire.training.task_module import Sums, TaskModule


class Classification(TaskModule):
    """Cross-entropy of [B, C, H, W] against labels [B].

    In training mode a net may answer with several logits. Its method ``training_loss(outputs,
    labels, label_smoothing)`` says then what they cost; without one, their cross-entropies are
    averaged. The accuracy of the learning curve is that of the last output.
    """

    def objective(
        self, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Sums]:
        outputs = forward(self.net, images, generator)
        loss = self._loss(outputs, targets)
        logits = outputs if isinstance(outputs, Tensor) else outputs[-1]
        return loss, {"accuracy": _right(logits, targets)}

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
