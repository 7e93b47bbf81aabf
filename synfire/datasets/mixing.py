"""Two training images in one: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from synfire.core.errors import ConfigError


class MixedLabels(NamedTuple):
    """Labels of mixed images: ``share`` of ``first``, the rest of ``second``; int64 [B] each."""

    first: Tensor
    second: Tensor
    share: float


@dataclass(frozen=True)
class Mixing:
    """Mixes each image of a batch with the one at the mirrored place; one share a batch.

    Args:
        mixup: both parameters of the Beta distribution of mixup's share; 0: no mixup.
        cutmix: the same of CutMix; 0: no CutMix.
        probability: that a batch is mixed at all.
        switch: probability of CutMix where both are on.

    Example:
        >>> images, labels = Mixing(mixup=0.8)(
        ...     torch.rand(2, 1, 4, 4), torch.tensor([3, 5]), torch.Generator().manual_seed(0)
        ... )
        >>> labels.second.tolist(), 0 < labels.share < 1
        ([5, 3], True)
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        if self.mixup < 0 or self.cutmix < 0:
            raise ConfigError("mix.mixup and mix.cutmix must not be negative.")
        if not (0 <= self.probability <= 1 and 0 <= self.switch <= 1):
            raise ConfigError("mix.probability and mix.switch are probabilities, in [0, 1].")

    @property
    def on(self) -> bool:
        """Whether anything is ever mixed."""
        return bool((self.mixup or self.cutmix) and self.probability)

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, MixedLabels]:
        """[B, C, H, W] and [B]; the generator lives on the CPU."""
        used, kind = torch.rand(2, generator=generator).tolist()
        if not self.on or used >= self.probability:
            return images, MixedLabels(labels, labels, 1.0)
        cut = self.cutmix > 0 and (self.mixup == 0 or kind < self.switch)
        share = _beta(self.cutmix if cut else self.mixup, generator)
        other = images.flip(0)
        if cut:
            images, share = _cut(images, other, share, generator)
        else:
            images = other.lerp(images, share)
        return images, MixedLabels(labels, labels.flip(0), share)


def _cut(
    images: Tensor, other: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """A rectangle of about (1 - share) of the area from ``other``; the share that is really left."""
    height, width = images.shape[2:]
    bounds = []
    for side in (height, width):
        half = int(side * (1 - share) ** 0.5) // 2
        centre = int(torch.randint(side, (1,), generator=generator))
        bounds.append((max(0, centre - half), min(side, centre + half)))
    (top, bottom), (left, right) = bounds
    images = images.clone()
    images[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return images, 1 - (bottom - top) * (right - left) / (height * width)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A draw of Beta(alpha, alpha)."""
    both = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator)
    return float(both[0] / both.sum())
