"""The large family, pre-trained as a masked autoencoder: dense convolutional stages, RepConv transformer blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from synfire.backbones.e_spikeformer.blocks import MLP, Downsample
from synfire.backbones.e_spikeformer.network import (
    DistilledSpikeFormer,
    Stage,
    build,
    check_sizes,
    neuron_factory,
    rising_rates,
)
from synfire.core.registry import models
from synfire.core.time import Encoder
from synfire.layers import DropPath, NeuronFactory, RepConv, SpikeAttention, SpikingSequential


class DenseConvBlock(nn.Module):
    """x += BN(conv3x3(SN(BN(conv3x3(SN(x)))))), four times as wide inside, with biases."""

    def __init__(self, channels: int, neuron: NeuronFactory) -> None:
        super().__init__()
        self.dense = MLP(channels, neuron, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.dense(x)
        return out


class RepTransformerBlock(nn.Module):
    """Attention whose products are RepConv chains, with scale 1/8, then an MLP.

        x += RepConv(SN(x))                     (83M alone)
        x += DropPath(g1 * attention(x))
        x += DropPath(g2 * MLP(x))

    Args:
        channels, neuron, heads, mlp_ratio: C, factory of neurons, heads, width of the MLP.
        rep_conv_ratio: width inside the leading RepConv, as a multiple of C; 0 leaves it out.
        layer_scale: initial value of the learnable g1 and g2, one number a channel; None: no g (pre-training).
        drop_path, timesteps: rate of stochastic depth, and T.
        product: of the attention, a function of input and output channels.
        attention_neuron: factory of the neuron after the attention, where it differs.
    """

    def __init__(
        self,
        channels: int,
        neuron: NeuronFactory,
        heads: int = 8,
        mlp_ratio: float = 4,
        rep_conv_ratio: float = 0.0,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        timesteps: int = 1,
        product: Callable[[int, int], nn.Module] = RepConv,
        attention_neuron: NeuronFactory | None = None,
    ) -> None:
        super().__init__()
        middle = int(channels * rep_conv_ratio)
        self.rep_conv = (
            SpikingSequential(neuron(), RepConv(channels, channels, middle, outer=False))
            if middle
            else None
        )
        self.attention = SpikeAttention(
            channels, neuron, heads, scale=0.125, product=product, attention_neuron=attention_neuron
        )
        self.mlp = MLP(channels, neuron, mlp_ratio)
        self.drop_path = DropPath(drop_path, timesteps)
        self.layer_scale1, self.layer_scale2 = (_gain(channels, layer_scale) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.rep_conv is not None:
            x = x + self.rep_conv(x)
        x = x + self.drop_path(_scaled(self.attention(x), self.layer_scale1))
        out: Tensor = x + self.drop_path(_scaled(self.mlp(x), self.layer_scale2))
        return out


def _gain(channels: int, value: float | None) -> nn.Parameter | None:
    return None if value is None else nn.Parameter(torch.full((channels,), value))


def _scaled(branch: Tensor, gain: Tensor | None) -> Tensor:
    # Under autocast the product is float32: a gain of 1e-6 would be lost in a 16-bit shortcut.
    return branch if gain is None else branch * gain[:, None, None]


class ESpikeFormerLarge(DistilledSpikeFormer):
    """E-SpikeFormer (Spike-driven Transformer V3), large family, in the form that is fine-tuned.

    Four stages: 7x7 convolution and dense ConvBlocks at stride 2, dense ConvBlocks at 4 and 8, transformer blocks at
    16. ``head`` reads the pooled potentials themselves, ``head_kd`` their counts; with both, training returns the pair
    of logits and eval their mean.

    Args:
        num_classes, levels, timesteps, in_channels: as of :class:`ESpikeFormer`.
        heads, mlp_ratio, features_only, encoder, readout: as there.
        neuron, rounding, window: as there; the released weights want the neuron ``sfa_large``.
        widths: c1 to c3; the stages have c1/2, c1, c2, c3 channels.
        depths: blocks of the four stages.
        stem_strides: strides of the four down-sampling modules.
        rep_conv_ratio: width inside the RepConv that leads each transformer block, as a multiple of c3; 0: none.
        layer_scale: initial gain of the branches; None leaves gains out.
        drop_path: largest rate of stochastic depth, growing over the transformer blocks.
        distillation_head: whether ``head_kd`` is there.

    Source: Yao et al., "Scaling Spike-driven Transformer with Efficient Spike Firing Approximation Training" (TPAMI
    2025).

    Example:
        >>> net = ESpikeFormerLarge(num_classes=5, widths=(8, 8, 16), depths=(1, 1, 1, 2), heads=2)
        >>> [logits.shape for logits in net(torch.rand(2, 3, 32, 32))]
        [torch.Size([2, 5]), torch.Size([2, 5])]
        >>> net.eval()(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int = 1000,
        levels: int | None = None,
        timesteps: int = 1,
        in_channels: int = 3,
        widths: tuple[int, ...] = (128, 256, 512),
        depths: tuple[int, ...] = (1, 1, 2, 12),
        stem_strides: tuple[int, ...] = (2, 2, 2, 2),
        heads: int = 8,
        mlp_ratio: float = 4,
        neuron: str = "sfa",
        rounding: str | None = None,
        window: str | None = None,
        rep_conv_ratio: float = 1.0,
        layer_scale: float | None = 1e-6,
        drop_path: float = 0.1,
        distillation_head: bool = True,
        features_only: bool = False,
        encoder: Encoder | None = None,
        readout: str = "mean",
    ) -> None:
        check_sizes(num_classes, in_channels, heads, widths, depths, stem_strides, stages=4)
        fire = neuron_factory(neuron, levels, timesteps, rounding, window)
        channels = (widths[0] // 2, *widths)
        stages = dense_stages(in_channels, channels, depths, stem_strides, fire)
        block = partial(
            RepTransformerBlock, channels[3], fire, heads, mlp_ratio, rep_conv_ratio, layer_scale,
            timesteps=timesteps,
        )  # fmt: skip
        stages.append(
            Stage(
                Downsample(channels[2], channels[3], stem_strides[3], neuron=fire),
                [block(drop_path=rate) for rate in rising_rates(drop_path, depths[3])],
            )
        )
        head_neuron = neuron_factory(neuron, levels, timesteps, rounding, window, scale=1.0)()
        super().__init__(
            stages, stem_strides, channels, head_neuron, num_classes, timesteps, encoder, readout,
            features_only, distillation_head=distillation_head,
        )  # fmt: skip
        self.apply(_initialise)


def dense_stages(
    in_channels: int,
    channels: tuple[int, ...],
    depths: tuple[int, ...],
    strides: tuple[int, ...],
    neuron: NeuronFactory,
) -> list[Stage]:
    """The three convolutional stages of the large family."""
    inputs = (in_channels, *channels)
    stages = []
    for index in range(3):
        kernel, fire = (7, None) if index == 0 else (3, neuron)
        down = Downsample(inputs[index], channels[index], strides[index], kernel, fire)
        blocks = [DenseConvBlock(channels[index], neuron) for _ in range(depths[index])]
        stages.append(Stage(down, blocks))
    return stages


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


@models.register()
def e_spikeformer_83m(**options: Any) -> ESpikeFormerLarge:
    """83.0 million parameters with both heads; each transformer block is led by a RepConv."""
    return build(ESpikeFormerLarge, {"widths": (128, 256, 512)}, options)


@models.register()
def e_spikeformer_173m(**options: Any) -> ESpikeFormerLarge:
    """171.7 million parameters with both heads; ``widths=(192, 384, 768)`` fits the pre-trained autoencoder."""
    return build(ESpikeFormerLarge, {"widths": (196, 384, 768), "rep_conv_ratio": 0.0}, options)
