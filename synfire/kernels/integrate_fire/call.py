"""What every path of the neuron operator takes and gives: flat buffers in memory order.

The operator hands each path (reference, native, Triton) ``x`` as a contiguous [T, N]: one row a timestep, N elements of
a state in the order in which they lie in memory, whatever the layout was (contiguous or channels last). Channels are
found by arithmetic: element e belongs to channel (e // inner) % C, with inner = 1 where channels lie innermost.

A path is two functions,

    forward(x, v, i, decay, threshold, dynamics, *, affine, output_scale, form, record, last_state, out) -> Fired
    backward(grad, grad_v, grad_i, x, record, v, i, decay, threshold, dynamics, *, affine, output_scale,
             parameters, epilogue) -> Gradients

and more for BatchNorm,

    moments(x, channels, inner) -> mean, variance                      of all elements of a channel, biased
    backward_sums(grad, grad_v, grad_i, x, v, i, decay, threshold, dynamics, *, affine, output_scale, mean)
        -> sum of g_u, sum of g_u * (x - mean)                         a channel, g_u the gradient of the affine output

with the arithmetic on channels that lies between them,

    norm_affine(mean, variance, weight, bias, eps, inner) -> Affine
    norm_epilogue(first, second, mean, variance, affine, eps, each) -> gradient of the weight, Epilogue

All paths equal the reference bit for bit in float32 counts and states. Rounding order, each line one rounding:
u = x * scale, then u = u + shift; the equations of reference.py in their order; y = s * output_scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FORMS = ("float", "uint8", "bits")


@dataclass(frozen=True)
class Channelwise:
    """One value, or one for each channel: element e of a state has ``values[(e // inner) % len(values)]``.

    ``values`` is 1-D in the state's dtype (float32; float64 for float64 inputs). ``constant`` is the one value where
    the host knows it; kernels need not read it then.
    """

    values: Tensor
    inner: int = 1
    constant: float | None = None

    def over(self, elements: int) -> Tensor:
        """A tensor that broadcasts against [elements]."""
        channels = self.values.shape[0]
        if channels == 1 or elements == 0:
            return self.values[:1] if elements else self.values.new_empty(0)
        rows = elements // (channels * self.inner)
        spread = self.values.repeat_interleave(self.inner)
        return spread.expand(rows, -1).reshape(elements)


@dataclass(frozen=True)
class Affine:
    """What a neuron integrates instead of x: u = x * scale + shift. A BatchNorm, applied or folded."""

    scale: Channelwise
    shift: Channelwise


@dataclass(frozen=True)
class Epilogue:
    """How the gradient g_u of the affine output becomes that of x: gain * g_u + slope * (x - centre) + offset.

    BatchNorm over a batch of n elements a channel, with S1, S2 from ``backward_sums`` and r = 1 / sqrt(variance + eps):
    gain = weight * r, slope = -weight * r^3 * S2 / n, offset = -weight * r * S1 / n, centre = mean. With fixed
    statistics slope and offset are zero. Without an Epilogue g_u is multiplied by the affine's scale.
    """

    gain: Channelwise
    slope: Channelwise
    centre: Channelwise
    offset: Channelwise


@dataclass(frozen=True)
class Fired:
    """Results of a forward pass.

    Attributes:
        out: [T, N]: ``float`` form counts * output_scale in x's dtype; ``uint8`` the counts; ``bits`` (of a binary
            neuron) uint8 [T, ceil(N/8)], element e of a row is bit e % 8 of byte e // 8.
        v, i: last membrane and current [N]; None where not asked for, or where there is no current.
        record: uint8 [planes, T, ceil(N/8)], packed like bits: plane 0 says where the gradient passes, plane 1 (hard
            reset only) where the neuron fired; None where not asked for.
    """

    out: Tensor
    v: Tensor | None = None
    i: Tensor | None = None
    record: Tensor | None = None


@dataclass(frozen=True)
class Gradients:
    """Gradients of x [T, N] in x's dtype, of the states [N], and of decay and threshold a state's element [N].

    None where the forward pass had none: no initial state, ``parameters`` false.
    """

    x: Tensor
    v: Tensor | None = None
    i: Tensor | None = None
    decay: Tensor | None = None
    threshold: Tensor | None = None


def packed(flags: Tensor) -> Tensor:
    """Booleans [..., n] to bits [..., ceil(n/8)], the layout of records: readable version.

    Example:
        >>> packed(torch.tensor([True, False, False, True])).tolist()
        [9]
    """
    padded = torch.nn.functional.pad(flags.to(torch.uint8), (0, -flags.shape[-1] % 8))
    places = torch.arange(8, device=flags.device)
    bytes_ = padded.reshape(*flags.shape[:-1], padded.shape[-1] // 8, 8).to(torch.int64) << places
    return bytes_.sum(-1).to(torch.uint8)


def unpacked(bits: Tensor, elements: int) -> Tensor:
    """Bits [..., ceil(n/8)] to booleans [..., n].

    Example:
        >>> unpacked(torch.tensor([9], dtype=torch.uint8), 4).tolist()
        [True, False, False, True]
    """
    places = torch.arange(8, device=bits.device)
    flags = (bits.to(torch.int64).unsqueeze(-1) >> places) & 1
    return flags.flatten(-2)[..., :elements].bool()
