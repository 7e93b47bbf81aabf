"""A small convolutional family: stages of conv-BN-neuron with one membrane residual each."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from synfire.core.errors import ConfigError
from synfire.core.registry import models
from synfire.core.time import Encoder, Folded
from synfire.encoders import Direct
from synfire.layers import (
    ConvNorm,
    NeuronFactory,
    SpikingResidual,
    SpikingSequential,
    spike_activation,
)

POOLINGS = ("stride", "avg", "max")


class SpikingCNN(Folded):
    """Stem conv-BN, then a stage for each width, then a neuron and a linear classifier on its spikes.

    A stage is [neuron, conv-BN that halves the size (not in the first stage)] and a membrane residual. Every
    convolution but the stem reads spikes. All potentials at the end are averaged over space before the last neuron
    fires, as in Spike-driven Transformer V3.

    Args:
        num_classes: outputs.
        levels: D, largest count of a timestep.
        timesteps: T.
        in_channels: channels of the input.
        widths: channels of the stages.
        pooling: how a stage halves the size: ``stride`` of its convolution, ``avg`` or ``max`` pooling of its spikes.
        activation: ``spike``, or ``relu`` for the non-spiking net of the same shape.
        encoder: of static inputs; :class:`Direct` by default.
        readout: over time: ``mean``, ``last`` or ``none``.

    Shapes: [B, C, H, W] or [T, B, C, H, W] to logits [B, num_classes].
    """

    def __init__(
        self,
        num_classes: int = 10,
        levels: int = 4,
        timesteps: int = 1,
        in_channels: int = 1,
        widths: tuple[int, ...] = (16, 32, 48),
        pooling: str = "stride",
        activation: str = "spike",
        encoder: Encoder | None = None,
        readout: str = "mean",
    ) -> None:
        super().__init__(timesteps, encoder or Direct(), readout, sample_ndim=3)
        if pooling not in POOLINGS:
            raise ConfigError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}.")
        if not widths or min(widths) < 1 or num_classes < 1 or in_channels < 1:
            raise ConfigError(
                f"widths, num_classes and in_channels must be positive, got {widths}, {num_classes}, {in_channels}."
            )
        neuron = spike_activation(activation, levels, timesteps)
        self.stem = ConvNorm(in_channels, widths[0])
        self.stages = nn.Sequential(
            *(
                _stage(before, width, neuron, pooling if index else "none")
                for index, (before, width) in enumerate(
                    zip((widths[0], *widths), widths, strict=False)
                )
            )
        )
        self.head_neuron = neuron()
        self.head = nn.Linear(widths[-1], num_classes)

    options: dict[str, Any]
    """The arguments of a named model, defaults among them: what ``config.json`` keeps."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Folded images [T*B, C, H, W] to the potentials of the last stage."""
        features: Tensor = self.stages(self.stem(x))
        return features

    def forward_steps(self, x: Tensor) -> Tensor:
        pooled = self.forward_features(x).mean((2, 3))
        logits: Tensor = self.head(self.head_neuron(pooled))
        return logits


def _stage(before: int, width: int, neuron: NeuronFactory, pooling: str) -> SpikingSequential:
    if pooling == "none":
        return SpikingSequential(SpikingResidual(width, neuron))
    if pooling == "stride":
        down: list[nn.Module] = [neuron(), ConvNorm(before, width, stride=2)]
    else:
        pool = nn.AvgPool2d(2) if pooling == "avg" else nn.MaxPool2d(2)
        down = [neuron(), pool, ConvNorm(before, width)]
    return SpikingSequential(*down, SpikingResidual(width, neuron))


def _build(widths: tuple[int, ...], options: dict[str, Any]) -> SpikingCNN:
    chosen = inspect.signature(SpikingCNN).bind(**{"widths": widths, **options})
    chosen.apply_defaults()
    chosen.arguments["widths"] = tuple(chosen.arguments["widths"])
    net = SpikingCNN(**chosen.arguments)
    net.options = dict(chosen.arguments)  # a saved model outlives a change of the defaults
    return net


@models.register()
def spiking_cnn_tiny(**options: Any) -> SpikingCNN:
    """Three stages of 16, 32, 48 channels: for 8x8 digits and quick tests."""
    return _build((16, 32, 48), options)


@models.register()
def spiking_cnn_small(**options: Any) -> SpikingCNN:
    """Three stages of 16, 32, 64 channels: for MNIST-sized images."""
    return _build((16, 32, 64), options)
