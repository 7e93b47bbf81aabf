"""Blocks of E-SpikeFormer. All take and return potentials [T*B, C, H, W]; every convolution inside reads spikes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from synfire.layers import (
    ConvNorm,
    DepthwiseConv2d,
    DropPath,
    NeuronFactory,
    SpikeAttention,
    SpikingSequential,
)


class Downsample(SpikingSequential):
    """Neuron (not in the first), convolution with bias, BatchNorm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 2,
        kernel: int = 3,
        neuron: NeuronFactory | None = None,
    ) -> None:
        parts: dict[str, nn.Module] = {} if neuron is None else {"neuron": neuron()}
        parts["conv"] = ConvNorm(inputs, outputs, kernel, stride, bias=True)
        super().__init__(OrderedDict(parts))


class SepConv(SpikingSequential):
    """Neuron, 1x1 to 2C, BN; neuron, depthwise, BN; neuron, 1x1 to C, BN."""

    def __init__(self, channels: int, kernel: int, neuron: NeuronFactory) -> None:
        middle = 2 * channels
        super().__init__(
            OrderedDict(
                neuron1=neuron(),
                expand=ConvNorm(channels, middle, 1),
                neuron2=neuron(),
                depthwise=nn.Sequential(DepthwiseConv2d(middle, kernel), nn.BatchNorm2d(middle)),
                neuron3=neuron(),
                project=ConvNorm(middle, channels, 1),
            )
        )


class MLP(SpikingSequential):
    """Neuron, convolution to ratio * C, BN; neuron, convolution to C, BN: 1x1 on tokens, 3x3 in the stem."""

    def __init__(
        self,
        channels: int,
        neuron: NeuronFactory,
        ratio: float = 4,
        kernel: int = 1,
        bias: bool = True,
    ) -> None:
        middle = int(channels * ratio)
        super().__init__(
            OrderedDict(
                neuron1=neuron(),
                expand=ConvNorm(channels, middle, kernel, bias=bias),
                neuron2=neuron(),
                project=ConvNorm(middle, channels, kernel, bias=bias),
            )
        )


class ConvBlock(nn.Module):
    """x += SepConv(x), then x += dense 3x3 MLP(x)."""

    def __init__(
        self,
        channels: int,
        neuron: NeuronFactory,
        kernel: int = 7,
        separable: Callable[[int, int, NeuronFactory], nn.Module] = SepConv,
    ) -> None:
        super().__init__()
        self.separable = separable(channels, kernel, neuron)
        self.dense = MLP(channels, neuron, kernel=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.separable(x)
        out: Tensor = x + self.dense(x)
        return out


class TransformerBlock(nn.Module):
    """x += SepConv(x), x += attention(x), x += MLP(x); with values expanded by 4 and scale 2 / sqrt(C / heads).

    Args:
        drop_path: rate at which samples lose a branch in training; the published nets have none.
    """

    def __init__(
        self,
        channels: int,
        neuron: NeuronFactory,
        heads: int = 8,
        mlp_ratio: float = 4,
        kernel: int = 3,
        drop_path: float = 0.0,
        timesteps: int = 1,
    ) -> None:
        super().__init__()
        self.separable = SepConv(channels, kernel, neuron)
        self.attention = SpikeAttention(channels, neuron, heads, value_expansion=4)
        self.mlp = MLP(channels, neuron, mlp_ratio)
        self.drop_path = DropPath(drop_path, timesteps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.separable(x))
        x = x + self.drop_path(self.attention(x))
        out: Tensor = x + self.drop_path(self.mlp(x))
        return out
