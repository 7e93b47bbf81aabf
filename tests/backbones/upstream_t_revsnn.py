"""T-RevSNN of plain torch modules with the published names of tensors, by plain autograd: an oracle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional


class _Binary(Function):
    """floor(clip(v, 0, 1) + 1/2) in training, round half to even in eval; straight-through on [0, 1]."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, training: bool) -> Tensor:
        ctx.save_for_backward(v)
        clipped = v.clamp(0, 1)
        return (clipped + 0.5).floor() if training else clipped.round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grads[0] * ((v >= 0) & (v <= 1)), None


class Spike(nn.Module):
    def forward(self, v: Tensor) -> Tensor:
        return _Binary.apply(v, self.training)


class WSConv(nn.Conv2d):
    """Convolution with standardised kernels, scaled by a gain and 1 / sqrt(fan in)."""

    def __init__(self, before: int, width: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(before, width, kernel, stride, kernel // 2)
        self.gain = nn.Parameter(torch.ones(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        fan_in = self.weight[0].numel()
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        variance = self.weight.var((1, 2, 3), correction=0, keepdim=True)
        weight = self.gain * (self.weight - mean) / (fan_in * (variance + 1e-6)).sqrt()
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


def depthwise(width: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)


class BlockA(nn.Module):
    """With a gain on the branch."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, width, 1, 1))
        self.spike1 = Spike()
        self.dwconv1 = depthwise(width, kernel)
        self.pwconv1 = WSConv(width, 4 * width)
        self.spike2 = Spike()
        self.pwconv2 = WSConv(4 * width, width)
        self.dwconv2 = depthwise(width, kernel)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.spike2(self.pwconv1(self.dwconv1(self.spike1(x))))
        return x + self.gamma * self.dwconv2(self.pwconv2(hidden))


class BlockB(nn.Module):
    """Its second half is one module in all columns."""

    def __init__(self, width: int, kernel: int, shared: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.spike1 = Spike()
        self.dwconv1 = depthwise(width, kernel)
        self.pwconv1 = WSConv(width, 4 * width)
        self.spike2 = Spike()
        self.pwconv2_reuse, self.dwconv2_reuse = shared

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.spike2(self.pwconv1(self.dwconv1(self.spike1(x))))
        return x + self.dwconv2_reuse(self.pwconv2_reuse(hidden))


class Resize(nn.Module):
    def __init__(self, before: int, width: int, kernel: int, stride: int, up: int = 1) -> None:
        super().__init__()
        self.spike = Spike()
        self.encode_conv = nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False)
        self.encode_bn = nn.BatchNorm2d(width)
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        x = self.encode_bn(self.encode_conv(self.spike(x)))
        return x.repeat_interleave(self.up, 2).repeat_interleave(self.up, 3)


class Fusion(nn.Module):
    """What comes from the level below, and from the level above of the column before."""

    def __init__(self, level: int, channels: tuple[int, ...], first: bool) -> None:
        super().__init__()
        width = channels[level]
        if level in (1, 2):
            self.down = Resize(channels[level - 1], width, 3, 2)
        elif level == 3:
            self.down = Resize(channels[2], width, 1, 1)
        else:
            self.down = nn.Identity()
        if not first and level < 3:
            self.up = Resize(channels[level + 1], width, 1, 1, up=2 if level < 2 else 1)

    def forward(self, below: Tensor, above: Tensor | None) -> Tensor:
        out = self.down(below)
        return out + self.up(above) if above is not None and hasattr(self, "up") else out


class Level(nn.Module):
    def __init__(
        self,
        level: int,
        channels: tuple[int, ...],
        kernel: int,
        first: bool,
        shared: tuple[nn.Module, nn.Module],
    ) -> None:
        super().__init__()
        width = channels[level]
        self.fusion = Fusion(level, channels, first)
        self.blocks = nn.Sequential(BlockA(width, kernel), BlockB(width, kernel, shared))

    def forward(self, below: Tensor, above: Tensor | None) -> Tensor:
        return self.blocks(self.fusion(below, above))


class Column(nn.Module):
    def __init__(
        self,
        channels: tuple[int, ...],
        kernel: int,
        first: bool,
        shared: list[tuple[nn.Module, nn.Module]],
    ) -> None:
        super().__init__()
        for index, width in enumerate(channels):
            setattr(self, f"alpha{index}", nn.Parameter(torch.full((1, width, 1, 1), 0.5)))
        for index in range(4):
            setattr(self, f"level{index}", Level(index, channels, kernel, first, shared[index]))

    def forward(self, x: Tensor, states: list[Tensor | None]) -> list[Tensor]:
        out: list[Tensor] = []
        for index in range(4):
            below = out[-1] if out else x
            above = states[index + 1] if index < 3 else None
            value = getattr(self, f"level{index}")(below, above)
            if states[index] is not None:
                alpha = getattr(self, f"alpha{index}")
                value = value + alpha.sign() * alpha.abs().clamp(min=1e-3) * states[index]
            out.append(value)
        return out


class AuxiliaryHead(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Sequential(WSConv(width, classes))

    def forward(self, state: Tensor) -> Tensor:
        return self.classifier(state.mean((2, 3), keepdim=True)).flatten(1)


class FinalHead(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.spike = Spike()
        self.classifier1 = nn.Sequential(WSConv(width, classes))
        self.classifier2 = WSConv(classes, classes)

    def forward(self, state: Tensor) -> Tensor:
        pooled = self.spike(state).mean((2, 3), keepdim=True)
        return self.classifier2(self.classifier1(pooled)).flatten(1)


class Stem(nn.Module):
    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.down1 = nn.Sequential(WSConv(in_channels, width, 7, 2))
        self.down2 = nn.Sequential(WSConv(width, width, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.down2(self.down1(x))


class FrameStem(nn.Module):
    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.down = nn.Sequential(WSConv(in_channels, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x)


class UpstreamTRevSNN(nn.Module):
    """Images [B, 3, H, W], or with ``frames`` [T, B, 2, H, W] of which a column sees one.

    ``forward`` returns the logits of all heads, the final one last.
    """

    def __init__(
        self,
        channels: tuple[int, int, int, int],
        columns: int = 4,
        num_classes: int = 1000,
        kernel: int = 5,
        inter_supv: bool = True,
        frames: bool = False,
    ) -> None:
        super().__init__()
        self.columns, self.frames = columns, frames
        if frames:
            self.stem = nn.ModuleList(FrameStem(2, channels[0]) for _ in range(columns))
        else:
            self.stem = Stem(3, channels[0])
        shared = [(WSConv(4 * width, width), depthwise(width, kernel)) for width in channels]
        for t in range(columns):
            setattr(self, f"subnet{t}", Column(channels, kernel, t == 0, shared))
        final = FinalHead(channels[3], num_classes)
        if inter_supv:
            auxiliary = [AuxiliaryHead(channels[3], num_classes) for _ in range(columns - 1)]
            self.cls_blocks = nn.ModuleList([*auxiliary, final])
        else:
            self.cls_blocks = final

    def states(self, x: Tensor) -> list[list[Tensor]]:
        """The four states after every column."""
        encoded = None if self.frames else self.stem(x)
        states: list[Any] = [None] * 4
        every = []
        for t in range(self.columns):
            states = getattr(self, f"subnet{t}")(
                self.stem[t](x[t]) if self.frames else encoded, states
            )
            every.append(states)
        return every

    def forward(self, x: Tensor) -> list[Tensor]:
        every = self.states(x)
        if isinstance(self.cls_blocks, nn.ModuleList):
            return [head(states[3]) for head, states in zip(self.cls_blocks, every, strict=True)]
        return [self.cls_blocks(every[-1][3])]
