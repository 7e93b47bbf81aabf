"""Meta-SpikeFormer (Spike-driven Transformer V2): binary LIF neurons, RepConv attention without value expansion."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from torch import nn

from synfire.backbones.e_spikeformer.blocks import ConvBlock, Downsample
from synfire.backbones.e_spikeformer.large import RepTransformerBlock
from synfire.backbones.e_spikeformer.network import (
    DistilledSpikeFormer,
    Stage,
    build,
    check_sizes,
    initialise_linear,
    neuron_factory,
    rising_rates,
)
from synfire.core.errors import ConfigError
from synfire.core.registry import models
from synfire.core.time import Encoder
from synfire.kernels.surrogates import Surrogate
from synfire.layers import (
    BorderedRepConv,
    ConvNorm,
    DepthwiseConv2d,
    NeuronFactory,
    SpikingSequential,
)
from synfire.neurons import LIF


class TwoNeuronSepConv(SpikingSequential):
    """Neuron, 1x1 to 2C, BN; neuron, depthwise, 1x1 to C, BN: the last 1x1 reads sums of spikes, not spikes."""

    def __init__(self, channels: int, kernel: int, neuron: NeuronFactory) -> None:
        middle = 2 * channels
        super().__init__(
            OrderedDict(
                neuron1=neuron(),
                expand=ConvNorm(channels, middle, 1),
                neuron2=neuron(),
                depthwise=DepthwiseConv2d(middle, kernel),
                project=ConvNorm(middle, channels, 1),
            )
        )


class MetaSpikeFormer(DistilledSpikeFormer):
    """Meta-SpikeFormer (Spike-driven Transformer V2), the forerunner of E-SpikeFormer.

    Five stages as in :class:`ESpikeFormer`. Neurons are binary LIF neurons with a time constant of two steps and a hard
    reset; the separable convolutions have two neurons; q, k, v and the projection of the attention are RepConv chains
    with a 3x3 depthwise convolution inside, its scale is 1/8, and the neuron after it fires at 1/2.

    Args:
        num_classes, timesteps, in_channels: as of :class:`ESpikeFormer`; published figures are of T = 4.
        widths, depths, stem_strides, heads, mlp_ratio: as there.
        features_only, encoder, readout: as there.
        levels: D; 1 for ``lif``.
        neuron: ``lif``, or one of the integer neurons that :class:`ESpikeFormer` takes.
        drop_path: largest rate of stochastic depth; none in the published nets.
        distillation_head: a second head on spikes, see :class:`ESpikeFormerLarge`.

    Source: Yao et al., "Spike-driven Transformer V2" (ICLR 2024).

    Example:
        >>> import torch
        >>> net = MetaSpikeFormer(num_classes=5, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1, 1), heads=2, timesteps=2)
        >>> net(torch.rand(2, 3, 32, 48)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int = 1000,
        levels: int | None = None,
        timesteps: int = 1,
        in_channels: int = 3,
        widths: tuple[int, ...] = (64, 128, 256, 360),
        depths: tuple[int, ...] = (1, 1, 2, 6, 2),
        stem_strides: tuple[int, ...] = (2, 2, 2, 2, 1),
        heads: int = 8,
        mlp_ratio: float = 4,
        neuron: str = "lif",
        drop_path: float = 0.0,
        distillation_head: bool = False,
        features_only: bool = False,
        encoder: Encoder | None = None,
        readout: str = "mean",
    ) -> None:
        check_sizes(num_classes, in_channels, heads, widths, depths, stem_strides, stages=5)
        fire = _neuron(neuron, levels, timesteps)
        attention_fire = _neuron(neuron, levels, timesteps, threshold=0.5)
        channels = (widths[0] // 2, *widths)
        rates = rising_rates(drop_path, depths[3] + depths[4])
        stages = []
        for index, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            if index == 0:
                down = Downsample(in_channels, width, stem_strides[0], kernel=7)
            else:
                down = Downsample(channels[index - 1], width, stem_strides[index], neuron=fire)
            blocks: list[nn.Module] = [
                ConvBlock(width, fire, separable=TwoNeuronSepConv)
                if index < 3
                else RepTransformerBlock(
                    width, fire, heads, mlp_ratio, drop_path=rates.pop(0), timesteps=timesteps,
                    product=BorderedRepConv, attention_neuron=attention_fire,
                )
                for _ in range(depth)
            ]  # fmt: skip
            stages.append(Stage(down, blocks))
        head_neuron = fire() if neuron == "lif" else _neuron(neuron, levels, timesteps, scale=1.0)()
        super().__init__(
            stages, stem_strides, channels, head_neuron, num_classes, timesteps, encoder, readout,
            features_only, distillation_head=distillation_head,
        )  # fmt: skip
        self.apply(initialise_linear)


def _neuron(neuron: str, levels: int | None, timesteps: int, **overrides: Any) -> NeuronFactory:
    if neuron != "lif":
        return neuron_factory(neuron, levels, timesteps, **overrides)
    if levels not in (None, 1):
        raise ConfigError(
            f"a LIF neuron is binary, levels=1, got levels={levels}: choose an integer neuron, as neuron='sfa'."
        )
    return partial(
        LIF, timesteps, decay_input=True, reset="hard", surrogate=Surrogate("sigmoid"), **overrides
    )


def _published(widths: tuple[int, ...], options: dict[str, Any]) -> MetaSpikeFormer:
    return build(MetaSpikeFormer, {"widths": widths}, options)


@models.register()
def meta_spikeformer_15m(**options: Any) -> MetaSpikeFormer:
    """15.1 million parameters."""
    return _published((64, 128, 256, 360), options)


@models.register()
def meta_spikeformer_31m(**options: Any) -> MetaSpikeFormer:
    """31.3 million parameters."""
    return _published((96, 192, 384, 480), options)


@models.register()
def meta_spikeformer_55m(**options: Any) -> MetaSpikeFormer:
    """55.4 million parameters."""
    return _published((128, 256, 512, 640), options)


@models.register()
def meta_spikeformer_124m(**options: Any) -> MetaSpikeFormer:
    """123.7 million parameters."""
    return _published((192, 384, 768, 960), options)
