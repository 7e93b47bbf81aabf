"""The CUDA path: the contract of :mod:`synfire.kernels.integrate_fire.call` in Triton, for float32 and half precision.

================ ========================================================
step.py           one timestep, its derivative, channels, packed bits
fire.py           the forward kernel
gradient.py       back through a few timesteps
differentiate.py  the backward kernel
norm.py           the few operations of a BatchNorm on its channels
sums.py           reductions over a batch: moments and gradients of a BatchNorm
launch.py         which calls it takes, compile-time flags, block sizes
================ ========================================================

float32 counts, states and gradients equal the reference bit for bit; the Gaussian and the sigmoid surrogate, which
need ``exp``, differ in the last places. Up to 16 timesteps are unrolled; longer sequences run in chunks, and a
backward pass without a record then keeps the states of every 16th timestep in a scratch tensor, float32 [T / 16, N].
Triton is imported with the first kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from synfire.kernels.integrate_fire import plain
from synfire.kernels.integrate_fire.call import (
    Affine,
    Channelwise,
    Epilogue,
    Fired,
    Gradients,
)
from synfire.kernels.integrate_fire.reference import Dynamics
from synfire.kernels.integrate_fire.triton.launch import (
    Channels,
    Division,
    backward_blocks,
    device_of,
    fire_blocks,
    flags_of,
    keeps_membranes,
    moment_tiles,
    multiprocessors,
    source_and_kind,
    sum_tiles,
    tiles_window,
    why_not,
)
from synfire.kernels.triton_launch import launch

__all__ = [
    "backward",
    "backward_sums",
    "forward",
    "moments",
    "norm_affine",
    "norm_epilogue",
    "why_not",
]

_FORM_DTYPES = {"uint8": torch.uint8, "bits": torch.uint8}


def forward(
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Channelwise,
    threshold: Channelwise,
    dynamics: Dynamics,
    *,
    affine: Affine | None = None,
    output_scale: float = 1.0,
    form: str = "float",
    record: bool = False,
    last_state: bool = True,
    out: Tensor | None = None,
) -> Fired:
    """x [T, N] to :class:`Fired`. ``out`` is written where given."""
    if x.numel() == 0:
        return plain.forward(
            x, v, i, decay, threshold, dynamics, affine=affine, output_scale=output_scale,
            form=form, record=record, last_state=last_state, out=out,
        )  # fmt: skip
    from synfire.kernels.integrate_fire.triton.fire import fire_kernel

    timesteps, elements = x.shape
    rows = -(-elements // 8)
    if out is None:
        width = rows if form == "bits" else elements
        out = x.new_empty((timesteps, width), dtype=_FORM_DTYPES.get(form, x.dtype))
    planes = 2 if dynamics.reset == "hard" else 1
    kept = x.new_empty((planes, timesteps, rows), dtype=torch.uint8) if record else None
    v_last = _state_like(x) if last_state else None
    i_last = None if v_last is None or i is None else torch.empty_like(v_last)
    channels = Channels.of(_values(decay, threshold, affine))
    blocks = fire_blocks(x.element_size(), timesteps)
    beta, decay_kind = source_and_kind(decay)
    theta, threshold_kind = source_and_kind(threshold)
    scale, shift, affine_kind = _affine(affine)
    with device_of(x):
        launch(
            fire_kernel, (-(-rows // blocks.rows),),
            (x, out, kept, v, i, v_last, i_last, beta, theta, scale, shift,
            elements, rows, timesteps, channels.number, channels.inner),
            DECAY=decay_kind, THRESHOLD=threshold_kind, AFFINE=affine_kind,
            PLACE=channels.place(8 * blocks.rows), RAGGED=elements % 8 != 0, BITS=form == "bits",
            OUTPUT_SCALE=output_scale if form == "float" else 1.0, **flags_of(dynamics),
            CURRENT=None if i is None else dynamics.current_decay, ONE=threshold.constant == 1.0,
            TILED=tiles_window(dynamics), **blocks.flags(timesteps), ROWS=blocks.rows,
            num_warps=blocks.warps, enable_fp_fusion=False,
        )  # fmt: skip
    return Fired(out, v_last, i_last, kept)


def backward(
    grad: Tensor,
    grad_v: Tensor | None,
    grad_i: Tensor | None,
    x: Tensor | None,
    record: Tensor | None,
    v: Tensor | None,
    i: Tensor | None,
    decay: Channelwise,
    threshold: Channelwise,
    dynamics: Dynamics,
    *,
    affine: Affine | None = None,
    output_scale: float = 1.0,
    parameters: bool = False,
    epilogue: Epilogue | None = None,
) -> Gradients:
    """Gradients of a forward pass that kept ``x`` or ``record``; ``i`` tells whether there is a current."""
    if grad.numel() == 0:
        return plain.backward(
            grad, grad_v, grad_i, x, record, v, i, decay, threshold, dynamics, affine=affine,
            output_scale=output_scale, parameters=parameters, epilogue=epilogue,
        )  # fmt: skip
    from synfire.kernels.integrate_fire.triton.differentiate import backward_kernel

    timesteps, elements = grad.shape
    rows = -(-elements // 8)
    parameters = parameters and record is None
    grad_x = torch.empty_like(grad)
    grad_v_first = None if v is None else _state_like(grad)
    grad_i_first = None if i is None else _state_like(grad)
    grad_decay = _state_like(grad) if parameters else None
    grad_threshold = _state_like(grad) if parameters else None
    parts = () if epilogue is None else _parts(epilogue)
    channels = Channels.of([*_values(decay, threshold, affine), *parts])
    keep = record is None and keeps_membranes(dynamics, parameters)
    blocks = backward_blocks(grad.element_size(), timesteps, record is None, keep)
    beta, decay_kind = source_and_kind(decay)
    theta, threshold_kind = source_and_kind(threshold)
    scale, shift, affine_kind = _affine(affine)
    ends, epilogue_kind = _epilogue(epilogue)
    with device_of(grad):
        launch(
            backward_kernel, (-(-rows // blocks.rows),),
            (grad, grad_v, grad_i, x, record, v, i,
            grad_x, grad_v_first, grad_i_first, grad_decay, grad_threshold,
            None if record is not None else _scratch(grad, blocks.steps, i is not None),
            beta, theta, scale, shift, *ends,
            elements, rows, timesteps, channels.number, channels.inner),
            DECAY=decay_kind, THRESHOLD=threshold_kind, AFFINE=affine_kind, EPILOGUE=epilogue_kind,
            PLACE=channels.place(8 * blocks.rows), RAGGED=elements % 8 != 0, PARAMETERS=parameters,
            OUTPUT_SCALE=output_scale, **flags_of(dynamics),
            CURRENT=None if i is None else dynamics.current_decay, ONE=threshold.constant == 1.0,
            DETACH=dynamics.detach_reset, KEEP=keep, **blocks.flags(timesteps),
            ROWS=blocks.rows, num_warps=blocks.warps, enable_fp_fusion=False,
        )  # fmt: skip
    return Gradients(grad_x, grad_v_first, grad_i_first, grad_decay, grad_threshold)


def moments(x: Tensor, channels: int, inner: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of x (flat, [..., channels, inner] in memory), in float32."""
    if x.numel() == 0:
        return plain.moments(x, channels, inner)
    from synfire.kernels.integrate_fire.triton.sums import moments_kernel

    if channels == 1:
        inner = x.numel()
    batches = x.numel() // (channels * inner)
    tiles = moment_tiles(x.element_size())
    division = Division.of(
        batches, channels, inner, tiles, tiles.programs * multiprocessors(x.device)
    )
    with device_of(x):
        means = _partial(x, division, channels, torch.float64)
        spreads = _partial(x, division, channels, torch.float32)
        sizes = torch.empty(division.grid[1], dtype=torch.int64, device=x.device)
        launch(
            moments_kernel, division.grid,
            (x, sizes, means, spreads, batches, channels, division.length),
            STAGES=tiles.stages, **division.flags(),
            num_warps=tiles.warps, enable_fp_fusion=False,
        )  # fmt: skip
        return _gathered(means, spreads, sizes, channels)


def backward_sums(
    grad: Tensor,
    grad_v: Tensor | None,
    grad_i: Tensor | None,
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Channelwise,
    threshold: Channelwise,
    dynamics: Dynamics,
    *,
    affine: Affine,
    output_scale: float,
    mean: Channelwise,
) -> tuple[Tensor, Tensor]:
    """Sum of g_u and of g_u * (x - mean) for each channel of ``mean``, g_u the gradient of the affine output."""
    if grad.numel() == 0:
        return plain.backward_sums(
            grad, grad_v, grad_i, x, v, i, decay, threshold, dynamics, affine=affine,
            output_scale=output_scale, mean=mean,
        )  # fmt: skip
    from synfire.kernels.integrate_fire.triton.sums import backward_sums_kernel

    timesteps, elements = grad.shape
    Channels.of([*_values(decay, threshold, affine), mean])  # checks that they agree
    number, inner = mean.values.shape[0], mean.inner
    if number == 1:
        inner = elements
    batches = elements // (number * inner)
    tiles = sum_tiles(grad.element_size(), timesteps)
    walk = tiles.flags(timesteps)
    division = Division.of(
        batches, number, inner, tiles, tiles.programs * multiprocessors(grad.device)
    )
    beta, decay_kind = source_and_kind(decay)
    theta, threshold_kind = source_and_kind(threshold)
    scale, shift, affine_kind = _affine(affine)
    centre, mean_kind = source_and_kind(mean)
    with device_of(grad):
        sums = _partial(grad, division, number, torch.float32)
        sums_x = torch.empty_like(sums)
        launch(
            backward_sums_kernel, division.grid,
            (grad, grad_v, grad_i, x, v, i, _scratch(grad, walk["STEPS"], i is not None),
            sums, sums_x, beta, theta, scale, shift, centre,
            batches, number, inner, division.length, timesteps),
            DECAY=decay_kind, THRESHOLD=threshold_kind, AFFINE=affine_kind, MEAN=mean_kind,
            OUTPUT_SCALE=output_scale, **flags_of(dynamics),
            CURRENT=None if i is None else dynamics.current_decay, ONE=threshold.constant == 1.0,
            DETACH=dynamics.detach_reset, KEEP=keeps_membranes(dynamics, False),
            **walk, **division.flags(),
            num_warps=tiles.warps, enable_fp_fusion=False,
        )  # fmt: skip
        return _gathered(sums, sums_x, None, number)


def norm_affine(
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    inner: int,
) -> Affine:
    """What a BatchNorm with these statistics [C] does to its input; all float32."""
    from synfire.kernels.integrate_fire.triton.norm import affine_kernel

    channels = mean.shape[0]
    scale, shift = torch.empty_like(mean), torch.empty_like(mean)
    if channels:
        with device_of(mean):
            launch(
                affine_kernel, (-(-channels // 128),),
                (mean, variance, weight, bias, scale, shift, channels, eps),
                CHANNELS=128, num_warps=4, enable_fp_fusion=False,
            )  # fmt: skip
    return Affine(Channelwise(scale, inner), Channelwise(shift, inner))


def norm_epilogue(
    first: Tensor,
    second: Tensor,
    mean: Tensor,
    variance: Tensor,
    affine: Affine,
    eps: float,
    each: int,
) -> tuple[Tensor, Epilogue]:
    """Gradient of the weight [C], and how that of x follows, of a BatchNorm over ``each`` elements a channel."""
    from synfire.kernels.integrate_fire.triton.norm import epilogue_kernel

    channels, scale, inner = mean.shape[0], affine.scale, affine.scale.inner
    grad_weight, slope, offset = (torch.empty_like(mean) for _ in range(3))
    if channels:
        with device_of(mean):
            launch(
                epilogue_kernel, (-(-channels // 128),),
                (first, second, variance, scale.values, grad_weight, slope, offset, channels, eps,
                float(each)),
                CHANNELS=128, num_warps=4, enable_fp_fusion=False,
            )  # fmt: skip
    parts = (Channelwise(part, inner) for part in (slope, mean, offset))
    return grad_weight, Epilogue(scale, *parts)


def _state_like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[1], dtype=torch.float32)


def _values(decay: Channelwise, threshold: Channelwise, affine: Affine | None) -> list[Channelwise]:
    return [decay, threshold, *([] if affine is None else [affine.scale, affine.shift])]


def _affine(affine: Affine | None) -> tuple[Tensor | float | None, Tensor | float | None, str]:
    if affine is None:
        return None, None, "none"
    return affine.scale.values, affine.shift.values, _shared_kind([affine.scale, affine.shift])


def _parts(epilogue: Epilogue) -> tuple[Channelwise, ...]:
    return epilogue.gain, epilogue.slope, epilogue.centre, epilogue.offset


def _epilogue(epilogue: Epilogue | None) -> tuple[tuple[Tensor | None, ...], str]:
    if epilogue is None:
        return (None,) * 4, "none"
    parts = _parts(epilogue)
    return tuple(part.values for part in parts), _shared_kind(parts)


def _shared_kind(values: list[Channelwise] | tuple[Channelwise, ...]) -> str:
    """Values of one affine map are single, or all one a channel."""
    sizes = {value.values.shape[0] for value in values}
    assert len(sizes) == 1, "the values of an affine map differ in number"
    return "one" if sizes == {1} else "channel"


def _scratch(grad: Tensor, steps: int, has_current: bool) -> Tensor | None:
    """Where states at the start of each chunk of ``steps`` are kept; None for a single chunk."""
    if grad.shape[0] <= steps:
        return None
    chunks = -(-grad.shape[0] // steps)
    return grad.new_empty((1 + has_current, chunks, grad.shape[1]), dtype=torch.float32)


def _partial(x: Tensor, division: Division, channels: int, dtype: torch.dtype) -> Tensor:
    """Room for one number of each program and channel, or each program and column."""
    line = division.length * division.aligned // (1 if division.runs else channels)
    return x.new_empty((division.grid[1], channels, 1 if division.runs else line), dtype=dtype)


def _gathered(
    first: Tensor, second: Tensor, sizes: Tensor | None, channels: int
) -> tuple[Tensor, Tensor]:
    """The second stage: results of all programs to one pair a channel."""
    from synfire.kernels.integrate_fire.triton.sums import gather_kernel

    parts, _, spread = first.shape
    together = 16 if spread == 1 else 1
    lines = min(256 if spread == 1 else 1024, 1 << max(4, (parts * spread - 1).bit_length()))
    one, two = second.new_empty(channels), second.new_empty(channels)
    launch(
        gather_kernel, (-(-channels // together),),
        (first, second, sizes, one, two, parts, channels, spread),
        MOMENTS=sizes is not None, LINES=lines, CHANNELS=together, num_warps=8,
        enable_fp_fusion=False,
    )  # fmt: skip
    return one, two
