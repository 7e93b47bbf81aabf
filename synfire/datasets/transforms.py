"""Augmentation of whole batches; every random number comes from the generator of the call."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from synfire.core.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training batch; a value of 0 switches its part off.

    The geometric parts are composed into one resampling, so an image is interpolated once.

    Args:
        shift: largest shift, as a share of the image side.
        rotate: largest rotation in degrees.
        scale: largest relative change of size (0.1: between 0.9 and 1.1).
        stretch: largest relative change of the ratio of the sides.
        shear: largest shear in degrees.
        elastic: standard deviation of a smooth displacement field, in pixels (Simard et al. 2003).
        elastic_grid: control points of that field along one side.
        flip: probability of a left-right flip.
        crop: pixels of zero padding around the image before a random crop of the old size.
        erase: probability that a rectangle of up to a quarter of the image is set to 0.

    Example:
        >>> augment = Augmentation(shift=0.1, rotate=10.0)
        >>> x = torch.rand(2, 1, 8, 8)
        >>> augment(x, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 8, 8])
    """

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    elastic_grid: int = 5
    flip: float = 0.0
    crop: int = 0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ConfigError(f"augment.{name} must not be negative, got {value}.")
        if self.scale >= 1 or self.stretch >= 1 or self.flip > 1 or self.erase > 1:
            raise ConfigError(
                "augment.scale and stretch must be below 1; flip and erase are probabilities."
            )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """float [B, C, H, W] to the same shape and device; the generator lives on the CPU."""
        if self._affine or self.elastic:
            images = self._resample(images, generator)
        if self.flip:
            images = random_flip(images, self.flip, generator)
        if self.crop:
            images = random_crop(images, self.crop, generator)
        if self.erase:
            images = random_erase(images, self.erase, generator)
        return images

    @property
    def _affine(self) -> bool:
        return any((self.shift, self.rotate, self.scale, self.stretch, self.shear))

    def _resample(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = images.shape
        theta = affine_matrices(
            batch,
            self.shift,
            self.rotate,
            self.scale,
            self.stretch,
            self.shear,
            width / height,
            generator,
        )
        grid = F.affine_grid(theta, [batch, 1, height, width], align_corners=False)
        if self.elastic:
            grid = grid + elastic_field(
                batch, (height, width), self.elastic, self.elastic_grid, generator
            )
        return F.grid_sample(images, grid.to(images), align_corners=False)


def _uniform(count: int, bound: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * bound


def affine_matrices(
    batch: int,
    shift: float,
    rotate: float,
    scale: float,
    stretch: float,
    shear: float,
    aspect: float,
    generator: torch.Generator,
) -> Tensor:
    """Random matrices [B, 2, 3] from output to input coordinates, in units of half an image side.

    ``aspect`` is width / height; it keeps rotations rigid on images that are not square.
    """
    angle = _uniform(batch, math.radians(rotate), generator)
    slant = torch.tan(_uniform(batch, math.radians(shear), generator))
    size = 1.0 + _uniform(batch, scale, generator)
    ratio = torch.sqrt(1.0 + _uniform(batch, stretch, generator))
    sx, sy = 1.0 / (size * ratio), ratio / size
    cos, sin = torch.cos(angle), torch.sin(angle)
    top = torch.stack([cos * sx, (cos * slant - sin) * sy / aspect], 1)
    bottom = torch.stack([sin * sx * aspect, (sin * slant + cos) * sy], 1)
    offset = torch.stack(
        [_uniform(batch, 2 * shift, generator), _uniform(batch, 2 * shift, generator)], 1
    )
    return torch.cat([torch.stack([top, bottom], 1), offset.unsqueeze(2)], 2)


def elastic_field(
    batch: int, size: tuple[int, int], strength: float, points: int, generator: torch.Generator
) -> Tensor:
    """Smooth random displacements [B, H, W, 2]: normal at points x points, bicubic in between.

    ``strength`` is in pixels; the result is in units of half an image side.
    """
    coarse = torch.randn(batch, 2, points, points, generator=generator) * strength
    field = F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)
    return field.permute(0, 2, 3, 1) * torch.tensor([2.0 / size[1], 2.0 / size[0]])


def random_flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirror some images left to right."""
    chosen = (torch.rand(len(images), generator=generator) < probability).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad with zeros and cut the old size out at a random place."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, [padding] * 4)
    top, left = (torch.randint(2 * padding + 1, (batch, 1), generator=generator) for _ in range(2))
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.arange(width)).to(images.device)
    index = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Set a random rectangle, each side up to half of the image's, to 0 (Zhong et al. 2020)."""
    batch, _, height, width = images.shape
    chosen = torch.rand(batch, generator=generator) < probability
    inside = chosen[:, None, None]
    for axis, side in ((1, height), (2, width)):
        length = torch.rand(batch, generator=generator) * side / 2
        start = torch.rand(batch, generator=generator) * (side - length)
        position = torch.arange(side)
        within = (position >= start[:, None]) & (position < (start + length)[:, None])
        inside = inside & within.unsqueeze(3 - axis)
    return images.masked_fill(inside.unsqueeze(1).to(images.device), 0.0)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(x - mean) / std for each channel.

    Synfire's recipes do without: the first BatchNorm absorbs it, and graphs take pixels in [0, 1].

    Example:
        >>> normalise(torch.ones(1, 1, 1, 1), (0.5,), (0.25,)).item()
        2.0
    """
    if len(mean) != images.shape[1] or len(std) != images.shape[1]:
        raise ConfigError(
            f"expected {images.shape[1]} means and deviations, got {len(mean)} and {len(std)}."
        )
    centre = torch.tensor(mean, dtype=images.dtype, device=images.device)[:, None, None]
    spread = torch.tensor(std, dtype=images.dtype, device=images.device)[:, None, None]
    return (images - centre) / spread
