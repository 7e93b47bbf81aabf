"""The large family of Spike-driven Transformer V3 and its masked autoencoder, of plain torch modules with the published
names of tensors: oracles. Attention is computed as published; tokens are sequences [B, C, N]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from benchmarks.models.plain_e_spikeformer import MLP, DownSampling


class _HalfUp(Function):
    """floor(clip(x) + 1/2); straight-through inside the open interval."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.levels = levels
        ctx.save_for_backward(x)
        return (x.clamp(0, levels) + 0.5).floor()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ((x > 0) & (x < ctx.levels)), None


class Neuron(nn.Module):
    def __init__(self, levels: int, norm: int) -> None:
        super().__init__()
        self.levels, self.norm = levels, norm

    def forward(self, x: Tensor) -> Tensor:
        return _HalfUp.apply(x, self.levels) / self.norm


class Firing:
    """Makes the neurons of a net."""

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def __call__(self, norm: int | None = None) -> Neuron:
        return Neuron(self.levels, self.levels if norm is None else norm)


class ConvBlock(nn.Module):
    def __init__(self, width: int, fire: Firing, ratio: int = 4) -> None:
        super().__init__()
        middle = ratio * width
        self.spike1 = fire()
        self.conv1 = nn.Sequential(_conv3x3(width, middle))
        self.spike2 = fire()
        self.conv2 = nn.Sequential(_conv3x3(middle, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.spike2(self.conv1(self.spike1(x))))


def _conv3x3(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width))


def _pointwise(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(before, width, 1, bias=False), nn.BatchNorm1d(width))


class RepConv(nn.Module):
    """Two pointwise convolutions in a row, each with BatchNorm."""

    def __init__(self, width: int, middle: int) -> None:
        super().__init__()
        self.conv1 = _pointwise(width, middle)
        self.conv2 = _pointwise(middle, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class Attention(nn.Module):
    """q (k^T v) / 8."""

    def __init__(self, width: int, heads: int, fire: Firing) -> None:
        super().__init__()
        self.heads = heads
        self.head_spike = fire()
        for name in ("q", "k", "v", "proj"):
            chain = nn.Sequential(RepConv(width, width * 3 // 2), nn.BatchNorm1d(width))
            setattr(self, f"{name}_conv", chain)
        self.q_spike, self.k_spike, self.v_spike, self.attn_spike = (fire() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head_spike(x)
        q, k, v = (
            spike(conv(x)).unflatten(1, (self.heads, -1)).transpose(2, 3)
            for conv, spike in (
                (self.q_conv, self.q_spike), (self.k_conv, self.k_spike), (self.v_conv, self.v_spike),
            )
        )  # fmt: skip
        mixed = q @ (k.transpose(2, 3) @ v) * 0.125
        return self.proj_conv(self.attn_spike(mixed.transpose(2, 3).flatten(1, 2)))


class Block(nn.Module):
    def __init__(
        self, width: int, heads: int, fire: Firing, rep_middle: int, layer_scale: bool
    ) -> None:
        super().__init__()
        if layer_scale:
            self.layer_scale1 = nn.Parameter(torch.full((width,), 1e-6))
            self.layer_scale2 = nn.Parameter(torch.full((width,), 1e-6))
        self.scaled = layer_scale
        if rep_middle:
            self.rep_conv = RepConv(width, rep_middle)
            self.rep_spike = fire()
        self.led = bool(rep_middle)
        self.attn = Attention(width, heads, fire)
        self.mlp = MLP(width, 4, fire)

    def forward(self, x: Tensor) -> Tensor:
        if self.led:
            x = x + self.rep_conv(self.rep_spike(x))
        attended = self.attn(x)
        x = x + (self.layer_scale1[:, None] * attended if self.scaled else attended)
        mixed = self.mlp(x[..., None]).squeeze(3)
        return x + (self.layer_scale2[:, None] * mixed if self.scaled else mixed)


class Encoder(nn.Module):
    """Stem and transformer blocks under the names that both models share."""

    def __init__(
        self,
        widths: tuple[int, int, int],
        depth: int,
        heads: int,
        levels: int,
        rep_middle: int,
        layer_scale: bool,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        fire = Firing(levels)
        c1, c2, c3 = widths
        self.downsample1_1 = DownSampling(in_channels, c1 // 2, 7, 2, None)
        self.ConvBlock1_1 = nn.ModuleList([ConvBlock(c1 // 2, fire)])
        self.downsample1_2 = DownSampling(c1 // 2, c1, 3, 2, fire())
        self.ConvBlock1_2 = nn.ModuleList([ConvBlock(c1, fire)])
        self.downsample2 = DownSampling(c1, c2, 3, 2, fire())
        self.ConvBlock2_1 = nn.ModuleList([ConvBlock(c2, fire)])
        self.ConvBlock2_2 = nn.ModuleList([ConvBlock(c2, fire)])
        self.downsample3 = DownSampling(c2, c3, 3, 2, fire())
        self.block3 = nn.ModuleList(
            Block(c3, heads, fire, rep_middle, layer_scale) for _ in range(depth)
        )

    def stem(self) -> list[nn.Module]:
        return [
            self.downsample1_1, *self.ConvBlock1_1, self.downsample1_2, *self.ConvBlock1_2,
            self.downsample2, *self.ConvBlock2_1, *self.ConvBlock2_2, self.downsample3,
        ]  # fmt: skip


class UpstreamLarge(Encoder):
    """The model that is fine-tuned: logits of ``head`` and ``head_kd`` in training, their mean in eval."""

    def __init__(
        self,
        widths: tuple[int, int, int],
        num_classes: int = 1000,
        depth: int = 12,
        heads: int = 8,
        levels: int = 4,
        rep_middle: int = 0,
        kd: bool = True,
    ) -> None:
        super().__init__(widths, depth, heads, levels, rep_middle, layer_scale=True)
        self.kd = kd
        self.head = nn.Linear(widths[2], num_classes)
        if kd:
            self.head_kd = nn.Linear(widths[2], num_classes)
            self.spike = Neuron(levels, 1)

    def forward(self, x: Tensor) -> Any:
        for module in self.stem():
            x = module(x)
        x = x.flatten(2)
        for block in self.block3:
            x = block(x)
        pooled = x.mean(2)
        logits = self.head(pooled)
        if not self.kd:
            return logits
        distilled = self.head_kd(self.spike(pooled))
        return (logits, distilled) if self.training else (logits + distilled) / 2


class _DecoderAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(3)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class _DecoderMLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class DecoderBlock(nn.Module):
    """Pre-norm transformer block without spikes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _DecoderAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _DecoderMLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class UpstreamMAE(Encoder):
    """The masked autoencoder, with the design that its description intends: masked positions of the latent are replaced
    by the mask token, in raster order.

    ``forward`` takes images and the active units, 1 or 0, [B, 1, H/unit, W/unit], and returns latent and prediction.
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        depth: int = 12,
        heads: int = 8,
        levels: int = 4,
        rep_middle: int = 0,
        decoder_width: int = 256,
        decoder_depth: int = 4,
        decoder_heads: int = 4,
        positions: int = 196,
        unit: int = 16,
    ) -> None:
        super().__init__(widths, depth, heads, levels, rep_middle, layer_scale=False)
        width = widths[2]
        self.pos_embed = nn.Parameter(torch.zeros(1, width, positions), requires_grad=False)
        self.norm = nn.BatchNorm1d(width)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_pos_embed = nn.Parameter(
            torch.zeros(1, positions, decoder_width), requires_grad=False
        )
        self.decoder_blocks = nn.ModuleList(
            DecoderBlock(decoder_width, decoder_heads) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_width, 3 * unit * unit)
        for name, module in list(self.named_modules()):
            if isinstance(module, nn.BatchNorm2d):  # of active positions: one dimension
                parent = self.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], nn.BatchNorm1d(module.num_features))

    def forward(self, images: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        x = images * _spread(active, images)
        for module in self.stem():
            x = self._masked(module, x, active)
        tokens = x.flatten(2)
        for block in self.block3:
            tokens = block(tokens)
        latent = self.norm(tokens).transpose(1, 2)
        seen = active.flatten(1)[..., None]
        decoded = self.decoder_embed(latent) * seen + self.mask_token * (1 - seen)
        decoded = decoded + self.decoder_pos_embed
        for block in self.decoder_blocks:
            decoded = block(decoded)
        return latent, self.decoder_pred(self.decoder_norm(decoded))

    def _masked(self, module: nn.Module, x: Tensor, active: Tensor) -> Tensor:
        if isinstance(module, DownSampling):
            if module.encode_spike is not None:
                x = module.encode_spike(x)
            return _sparse(module.encode_conv, module.encode_bn, x, active)
        out = _sparse(*module.conv1[0], module.spike1(x), active)
        return x + _sparse(*module.conv2[0], module.spike2(out), active)


def _spread(active: Tensor, x: Tensor) -> Tensor:
    """The active units at the resolution of ``x``."""
    each = x.shape[-1] // active.shape[-1]
    return active.repeat_interleave(each, 2).repeat_interleave(each, 3)


def _sparse(conv: nn.Module, norm: nn.Module, x: Tensor, active: Tensor) -> Tensor:
    """Convolution, then BatchNorm over the active positions alone; zeros elsewhere."""
    x = conv(x)
    where = _spread(active, x)[:, 0].bool()
    out = torch.zeros_like(x).movedim(1, 3)
    rows = norm(x.movedim(1, 3)[where])
    return out.index_put((where,), rows).movedim(3, 1)
