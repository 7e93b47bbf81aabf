"""Accuracy of a net on labelled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synfire.core.errors import ConfigError, InputError
from synfire.core.time import Folded
from synfire.datasets import Images
from synfire.training.seeding import Stream, derive_generator


@dataclass(frozen=True)
class Evaluation:
    """What a net said about labelled images.

    Attributes:
        accuracy: share of right predictions, 0 to 1.
        loss: mean cross-entropy in nats.
        confusion: int64 [classes, classes], rows are labels, columns predictions.
        logits: float32 [N, classes].
        labels: int64 [N].
    """

    accuracy: float
    loss: float
    confusion: Tensor
    logits: Tensor
    labels: Tensor

    @property
    def predictions(self) -> Tensor:
        """int64 [N]."""
        return self.logits.argmax(dim=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, without logits."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "images": len(self.labels),
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        right = int(self.confusion.diagonal().sum())
        return f"accuracy {self.accuracy:.2%} ({right} of {len(self.labels)}), loss {self.loss:.4f}"


def evaluate(
    net: nn.Module,
    images: Images,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Run ``net`` in eval mode over all images; its mode is restored afterwards.

    Args:
        net: [B, C, H, W] to logits [B, classes].
        images: labelled images.
        batch_size: images at a time.
        device: where to run (the net's own by default).
        seed: of stochastic encoders; each batch draws from (seed, batch).
        progress: called with images done and images in all.

    Raises:
        InputError: the net answers with NaN or infinity, or with too few classes.

    Example:
        >>> from synfire.datasets import load_dataset
        >>> test = load_dataset("digits").test
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> evaluate(net, test).confusion.sum().item()
        360
    """
    if len(images) == 0:
        raise ConfigError("there is no image to evaluate on.")
    device = torch.device(device) if device is not None else _device_of(net)
    modes = {module: module.training for module in net.modules()}
    net.to(device).eval()
    try:
        with torch.inference_mode():
            logits = _all_logits(net, images, batch_size, device, seed, progress)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return score(logits, images.labels)


def score(logits: Tensor, labels: Tensor) -> Evaluation:
    """Accuracy, loss and confusion of logits [N, classes]."""
    classes = logits.shape[1]
    if labels.max() >= classes:
        raise InputError(f"the net knows {classes} classes, but a label is {int(labels.max())}.")
    if not logits.isfinite().all():
        raise InputError("the net answered with NaN or infinity: check its weights and its input.")
    predictions = logits.argmax(dim=1)
    confusion = (labels * classes + predictions).bincount(minlength=classes**2)
    return Evaluation(
        accuracy=(predictions == labels).double().mean().item(),
        loss=F.cross_entropy(logits, labels).item(),
        confusion=confusion.reshape(classes, classes),
        logits=logits,
        labels=labels,
    )


def forward(net: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
    """Call ``net``; a spiking net hands the generator on to its encoder."""
    logits: Tensor = net(images, generator=generator) if isinstance(net, Folded) else net(images)
    return logits


def _all_logits(
    net: nn.Module,
    images: Images,
    batch_size: int,
    device: torch.device,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> Tensor:
    dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    parts = []
    for step, indices in enumerate(torch.arange(len(images)).split(batch_size)):
        generator = derive_generator(Stream.ENCODER, seed, step)
        batch = images.batch(indices).to(device, dtype)
        parts.append(forward(net, batch, generator).float().cpu())
        if progress is not None:
            progress(int(indices[-1]) + 1, len(images))
    return torch.cat(parts).clone()


def _device_of(net: nn.Module) -> torch.device:
    return next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
