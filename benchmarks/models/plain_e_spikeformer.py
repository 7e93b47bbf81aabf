"""E-SpikeFormer (base family) composed of plain torch modules only: the peer of the benchmarks, an oracle of the tests.

Modules are separate, neurons keep their float input for the gradient, attention multiplies (q k^T) v: what the
published description does, with its names of tensors. Nothing of Synfire is used.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

WIDTHS = {
    "t": (24, 48, 96, 128),
    "s": (32, 64, 128, 192),
    "m": (48, 96, 192, 240),
    "l": (64, 128, 256, 360),
}
NEURONS = ("saved", "repaired")


class _Saved(Function):
    """Rounds half to even; keeps the float input and masks a copy of the gradient by indexing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.levels = levels
        ctx.save_for_backward(x)
        return x.clamp(0, levels).round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        grad = grads[0].clone()
        grad[x < 0] = 0
        grad[x > ctx.levels] = 0
        return grad, None


class _Repaired(Function):
    """The same values and gradients, with one elementwise product in place of indexing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.levels = levels
        ctx.save_for_backward(x)
        return x.clamp(0, levels).round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ((x >= 0) & (x <= ctx.levels)), None


class Neuron(nn.Module):
    """Clip to [0, levels], round half to even, divide by ``norm``; straight-through inside the closed interval."""

    def __init__(self, levels: int, norm: int, kind: str) -> None:
        super().__init__()
        if kind not in NEURONS:
            raise ValueError(f"the neuron must be one of {', '.join(NEURONS)}, got {kind!r}.")
        self.levels, self.norm = levels, norm
        self.function = _Saved if kind == "saved" else _Repaired

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.levels) / self.norm


class Firing:
    """Makes the neurons of a net."""

    def __init__(self, levels: int, kind: str) -> None:
        self.levels, self.kind = levels, kind

    def __call__(self, norm: int | None = None) -> Neuron:
        return Neuron(self.levels, self.levels if norm is None else norm, self.kind)


def conv_bn(before: int, width: int, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias of unchanged size, then BatchNorm."""
    conv = nn.Conv2d(before, width, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width))


class DownSampling(nn.Module):
    """[neuron,] strided convolution with bias, BatchNorm."""

    def __init__(
        self, before: int, width: int, kernel: int, stride: int, neuron: Neuron | None
    ) -> None:
        super().__init__()
        self.encode_conv = nn.Conv2d(before, width, kernel, stride, kernel // 2)
        self.encode_bn = nn.BatchNorm2d(width)
        self.encode_spike = neuron

    def forward(self, x: Tensor) -> Tensor:
        if self.encode_spike is not None:
            x = self.encode_spike(x)
        return self.encode_bn(self.encode_conv(x))


class SepConv(nn.Module):
    """Pointwise C to 2C, depthwise, pointwise back; every convolution reads spikes."""

    def __init__(self, width: int, kernel: int, fire: Firing) -> None:
        super().__init__()
        self.spike1 = fire()
        self.pwconv1 = conv_bn(width, 2 * width)
        self.spike2 = fire()
        self.dwconv = conv_bn(2 * width, 2 * width, kernel, groups=2 * width)
        self.spike3 = fire()
        self.pwconv2 = conv_bn(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pwconv1(self.spike1(x))
        x = self.dwconv(self.spike2(x))
        return self.pwconv2(self.spike3(x))


class ConvBlock(nn.Module):
    """A SepConv and a pair of dense 3x3 convolutions, each with a membrane shortcut."""

    def __init__(self, width: int, fire: Firing, ratio: int = 4) -> None:
        super().__init__()
        self.Conv = SepConv(width, 7, fire)
        self.spike1 = fire()
        self.conv1 = nn.Conv2d(width, ratio * width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(ratio * width)
        self.spike2 = fire()
        self.conv2 = nn.Conv2d(ratio * width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.Conv(x)
        hidden = self.bn1(self.conv1(self.spike1(x)))
        return x + self.bn2(self.conv2(self.spike2(hidden)))


class Attention(nn.Module):
    """(q k^T) v of spikes, values four times as wide, scale 2 / sqrt(C / heads)."""

    def __init__(self, width: int, heads: int, fire: Firing, expansion: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 2 * (width // heads) ** -0.5
        self.head_spike = fire()
        self.q_conv = conv_bn(width, width)
        self.q_spike = fire()
        self.k_conv = conv_bn(width, width)
        self.k_spike = fire()
        self.v_conv = conv_bn(width, expansion * width)
        self.v_spike = fire()
        self.attn_spike = fire()
        self.proj_conv = conv_bn(expansion * width, width)

    def _split(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, heads, N, C / heads]."""
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        x = self.head_spike(x)
        q = self._split(self.q_spike(self.q_conv(x)))
        k = self._split(self.k_spike(self.k_conv(x)))
        v = self._split(self.v_spike(self.v_conv(x)))
        mixed = (q @ k.transpose(2, 3)) @ v * self.scale
        merged = mixed.transpose(2, 3).flatten(1, 2).unflatten(2, size)
        return self.proj_conv(self.attn_spike(merged))


class MLP(nn.Module):
    """Two 1-d convolutions with bias over flattened tokens."""

    def __init__(self, width: int, ratio: int, fire: Firing) -> None:
        super().__init__()
        self.fc1_spike = fire()
        self.fc1_conv = nn.Conv1d(width, ratio * width, 1)
        self.fc1_bn = nn.BatchNorm1d(ratio * width)
        self.fc2_spike = fire()
        self.fc2_conv = nn.Conv1d(ratio * width, width, 1)
        self.fc2_bn = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        x = self.fc1_bn(self.fc1_conv(self.fc1_spike(x.flatten(2))))
        return self.fc2_bn(self.fc2_conv(self.fc2_spike(x))).unflatten(2, size)


class Block(nn.Module):
    """SepConv, attention and MLP, each with a membrane shortcut."""

    def __init__(self, width: int, heads: int, ratio: int, fire: Firing) -> None:
        super().__init__()
        self.conv = SepConv(width, 3, fire)
        self.attn = Attention(width, heads, fire)
        self.mlp = MLP(width, ratio, fire)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.conv(x)
        x = x + self.attn(x)
        return x + self.mlp(x)


class PlainESpikeFormer(nn.Module):
    """Images [B, C, H, W] to logits [B, num_classes].

    Args:
        widths: channels of the four stages.
        depths: transformer blocks of the third and fourth stage.
        heads: of the attention.
        mlp_ratio: width of the MLP's hidden layer over its input's.
        levels: largest count of a neuron.
        neuron: ``saved`` (as published) or ``repaired`` (equal, without indexing in the gradient).

    Source: Yao et al., "Scaling Spike-driven Transformer with Efficient Spike Firing Approximation Training" (TPAMI
    2025).
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = WIDTHS["m"],
        num_classes: int = 1000,
        in_channels: int = 3,
        depths: tuple[int, int] = (6, 2),
        heads: int = 8,
        mlp_ratio: int = 4,
        levels: int = 4,
        neuron: str = "repaired",
    ) -> None:
        super().__init__()
        fire = Firing(levels, neuron)
        c1, c2, c3, c4 = widths
        self.downsample1_1 = DownSampling(in_channels, c1 // 2, 7, 2, None)
        self.ConvBlock1_1 = nn.ModuleList([ConvBlock(c1 // 2, fire)])
        self.downsample1_2 = DownSampling(c1 // 2, c1, 3, 2, fire())
        self.ConvBlock1_2 = nn.ModuleList([ConvBlock(c1, fire)])
        self.downsample2 = DownSampling(c1, c2, 3, 2, fire())
        self.ConvBlock2_1 = nn.ModuleList([ConvBlock(c2, fire)])
        self.ConvBlock2_2 = nn.ModuleList([ConvBlock(c2, fire)])
        self.downsample3 = DownSampling(c2, c3, 3, 2, fire())
        self.block3 = nn.ModuleList(Block(c3, heads, mlp_ratio, fire) for _ in range(depths[0]))
        self.downsample4 = DownSampling(c3, c4, 3, 1, fire())
        self.block4 = nn.ModuleList(Block(c4, heads, mlp_ratio, fire) for _ in range(depths[1]))
        self.spike = fire(norm=1)
        self.head = nn.Linear(c4, num_classes)

    def stages(self) -> list[nn.Module]:
        """Everything before the head, in order."""
        return [
            self.downsample1_1, *self.ConvBlock1_1, self.downsample1_2, *self.ConvBlock1_2,
            self.downsample2, *self.ConvBlock2_1, *self.ConvBlock2_2, self.downsample3,
            *self.block3, self.downsample4, *self.block4,
        ]  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages():
            x = stage(x)
        return self.head(self.spike(x.flatten(2).mean(2)))


def plain_e_spikeformer(size: str, **options: Any) -> PlainESpikeFormer:
    """A published size: ``t``, ``s``, ``m`` or ``l``."""
    return PlainESpikeFormer(WIDTHS[size], **options)
