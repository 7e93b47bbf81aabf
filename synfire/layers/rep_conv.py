"""RepConv: chains of convolutions and BatchNorms without activation, one convolution when deployed."""

from __future__ import annotations

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from synfire.layers.conv_norm import ConvNorm


class RepConv(nn.Sequential):
    """1x1, BN, 1x1, BN and an outer BN: a longer path in training, a single 1x1 convolution afterwards.

    Args:
        inputs, outputs: channels.
        middle: channels between; 1.5 times ``inputs`` by default.
        outer: whether the outer BatchNorm is there.

    Source: Spike-driven Transformer V3, large family; Ding et al., "RepVGG" (CVPR 2021) for the merging.

    Example:
        >>> chain = RepConv(4, 6).eval()
        >>> chain.merged()
        Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))
    """

    def __init__(
        self, inputs: int, outputs: int, middle: int | None = None, outer: bool = True
    ) -> None:
        middle = inputs * 3 // 2 if middle is None else middle
        parts: dict[str, nn.Module] = {
            "first": ConvNorm(inputs, middle, 1),
            "second": ConvNorm(middle, outputs, 1),
        }
        if outer:
            parts["outer"] = nn.BatchNorm2d(outputs)
        super().__init__(OrderedDict(parts))

    def merged(self) -> nn.Conv2d:
        """The one convolution that does the same in eval."""
        return merge(self, padding=0)


class BorderedRepConv(nn.Sequential):
    """1x1, BN whose border is BN(0), depthwise 3x3, 1x1, BN and an outer BN: a dense 3x3 convolution when merged.

    The border carries what BatchNorm makes of zero, so the merged convolution is exact with zero padding.

    Source: Spike-driven Transformer V2 (ICLR 2024), attention.

    Example:
        >>> BorderedRepConv(4, 4).eval().merged()
        Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            OrderedDict(
                first=nn.Conv2d(inputs, inputs, 1, bias=False),
                border=NormAndPad(inputs),
                depthwise=nn.Conv2d(inputs, inputs, 3, groups=inputs, bias=False),
                second=ConvNorm(inputs, outputs, 1),
                outer=nn.BatchNorm2d(outputs),
            )
        )

    def merged(self) -> nn.Conv2d:
        """The one convolution that does the same in eval."""
        return merge(self, padding=1)


class NormAndPad(nn.Module):
    """BatchNorm, then a border as wide as ``pad`` that holds BN(0) by its running statistics, without gradient.

    In eval that is a BatchNorm of the zero-padded map. In training the statistics are those of the inner pixels.
    """

    def __init__(self, channels: int, pad: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        width = [self.pad] * 4
        if not self.training:
            out: Tensor = self.norm(functional.pad(x, width))
            return out
        inner = self.norm(x)
        border = _norm_of_zero(self.norm).to(inner.dtype)[:, None, None]
        inside = functional.pad(torch.ones_like(inner[:1, :1], dtype=torch.bool), width)
        return torch.where(inside, functional.pad(inner, width), border)


@torch.no_grad()
def _norm_of_zero(norm: nn.BatchNorm2d) -> Tensor:
    """What BatchNorm in eval makes of 0, one value a channel."""
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.bias - norm.running_mean * norm.weight / torch.sqrt(norm.running_var + norm.eps)


@torch.no_grad()
def merge(chain: nn.Sequential, padding: int) -> nn.Conv2d:
    """One convolution equal to a chain of 1x1 and depthwise convolutions and BatchNorms in eval.

    The chain is linear, so its answers to a unit impulse a channel and to nothing are its kernel and bias; they are
    computed in float64.

    Args:
        chain: takes maps; a border of ``padding`` pixels of it acts as if its input were padded with zeros.
    """
    first = next(module for module in chain.modules() if isinstance(module, nn.Conv2d))
    device, dtype = first.weight.device, first.weight.dtype
    chain = copy.deepcopy(chain).double().eval()
    inputs, reach = first.in_channels, 2 * padding + 1
    impulses = torch.eye(inputs, dtype=torch.float64, device=device)
    maps = functional.pad(impulses[:, :, None, None], [2 * padding] * 4)
    rest = chain(torch.zeros_like(maps[:1]))
    answers = chain(maps) - rest
    centre = slice(padding, padding + reach)
    kernel = answers[..., centre, centre].flip(2, 3).transpose(0, 1)
    bias = rest[0, :, 2 * padding, 2 * padding]
    out = nn.Conv2d(
        inputs, kernel.shape[0], reach, padding=padding, device=device, dtype=dtype
    ).train(first.training)
    assert out.bias is not None
    out.weight.copy_(kernel)
    out.bias.copy_(bias)
    return out


def merge_rep_convs(net: nn.Module) -> nn.Module:
    """A copy of ``net`` in which every :class:`RepConv` and :class:`BorderedRepConv` is one convolution.

    It answers as ``net`` does in eval, up to rounding, and has fewer weights and products. Do it after training.

    Example:
        >>> net = nn.Sequential(RepConv(4, 4))
        >>> sum(p.numel() for p in net.parameters()), sum(p.numel() for p in merge_rep_convs(net).parameters())
        (76, 20)
    """
    if isinstance(net, RepConv | BorderedRepConv):
        return net.merged()
    net = copy.deepcopy(net)
    for path, module in list(net.named_modules()):
        if isinstance(module, RepConv | BorderedRepConv):
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, module.merged())
    return net
