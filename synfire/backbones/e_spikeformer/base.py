"""The base family, trained from scratch: convolutional stages with separable convolutions, then transformer blocks."""

from __future__ import annotations

from typing import Any

from torch import nn

from synfire.backbones.e_spikeformer.blocks import ConvBlock, Downsample, TransformerBlock
from synfire.backbones.e_spikeformer.network import (
    SpikeFormer,
    Stage,
    build,
    check_sizes,
    initialise_linear,
    neuron_factory,
    rising_rates,
)
from synfire.core.registry import models
from synfire.core.time import Encoder


class ESpikeFormer(SpikeFormer):
    """E-SpikeFormer (Spike-driven Transformer V3), base family.

    Five stages: 7x7 convolution and ConvBlocks at stride 2, ConvBlocks at 4 and 8, transformer blocks at 16 (two
    widths). No position embedding; all shortcuts add potentials.

    Args:
        num_classes: outputs.
        levels: D, largest count of a timestep; None: that of the neuron.
        timesteps: T.
        in_channels: channels of the input; 2 for events.
        widths: c1 to c4; the stages have c1/2, c1, c2, c3, c4 channels.
        depths: blocks of the five stages.
        stem_strides: strides of the five down-sampling modules.
        heads: of the attention; a divisor of c3 and c4.
        mlp_ratio: width of the MLPs, as a multiple.
        neuron: ``sfa``, or a preset of :class:`synfire.neurons.IntegerLIF`: ``sfa_base`` as the released weights were
            trained with, ``sfa_event`` for event data.
        rounding, window: of the neuron, instead of its own.
        drop_path: largest rate of stochastic depth, growing over the transformer blocks; none in the published nets.
        features_only: give the potentials at strides 2, 4, 8, 16 instead of logits.
        encoder: of static inputs; :class:`synfire.encoders.Direct` by default.
        readout: over time: ``mean``, ``last`` or ``none``.

    Shapes: [B, C, H, W] or [T, B, C, H, W] to logits [B, num_classes]; H and W are best multiples of 16.

    Source: Yao et al., "Scaling Spike-driven Transformer with Efficient Spike Firing Approximation Training" (TPAMI
    2025), E-SpikeFormer.

    Example:
        >>> import torch
        >>> net = ESpikeFormer(num_classes=5, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1, 1), heads=2)
        >>> net(torch.rand(2, 3, 32, 48)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int = 1000,
        levels: int | None = None,
        timesteps: int = 1,
        in_channels: int = 3,
        widths: tuple[int, ...] = (24, 48, 96, 128),
        depths: tuple[int, ...] = (1, 1, 2, 6, 2),
        stem_strides: tuple[int, ...] = (2, 2, 2, 2, 1),
        heads: int = 8,
        mlp_ratio: float = 4,
        neuron: str = "sfa",
        rounding: str | None = None,
        window: str | None = None,
        drop_path: float = 0.0,
        features_only: bool = False,
        encoder: Encoder | None = None,
        readout: str = "mean",
    ) -> None:
        check_sizes(num_classes, in_channels, heads, widths, depths, stem_strides, stages=5)
        fire = neuron_factory(neuron, levels, timesteps, rounding, window)
        channels = (widths[0] // 2, *widths)
        rates = rising_rates(drop_path, depths[3] + depths[4])
        stages = []
        for index, (width, depth, stride) in enumerate(
            zip(channels, depths, stem_strides, strict=True)
        ):
            if index == 0:
                down = Downsample(in_channels, width, stride, kernel=7)
            else:
                down = Downsample(channels[index - 1], width, stride, neuron=fire)
            blocks: list[nn.Module] = [
                ConvBlock(width, fire)
                if index < 3
                else TransformerBlock(width, fire, heads, mlp_ratio, 3, rates.pop(0), timesteps)
                for _ in range(depth)
            ]
            stages.append(Stage(down, blocks))
        head_neuron = neuron_factory(neuron, levels, timesteps, rounding, window, scale=1.0)()
        super().__init__(
            stages, stem_strides, channels, head_neuron, num_classes, timesteps, encoder, readout,
            features_only,
        )  # fmt: skip
        self.apply(initialise_linear)


def _published(widths: tuple[int, ...], options: dict[str, Any]) -> ESpikeFormer:
    return build(ESpikeFormer, {"widths": widths}, options)


@models.register()
def e_spikeformer_t(**options: Any) -> ESpikeFormer:
    """2.7 million parameters."""
    return _published((24, 48, 96, 128), options)


@models.register()
def e_spikeformer_s(**options: Any) -> ESpikeFormer:
    """5.1 million parameters."""
    return _published((32, 64, 128, 192), options)


@models.register()
def e_spikeformer_m(**options: Any) -> ESpikeFormer:
    """10.0 million parameters."""
    return _published((48, 96, 192, 240), options)


@models.register()
def e_spikeformer_l(**options: Any) -> ESpikeFormer:
    """19.0 million parameters."""
    return _published((64, 128, 256, 360), options)
