"""The neuron of fixed-point graphs as an operator of its own; products with it in their epilogue are
:mod:`synfire.kernels.integer_linear` and :mod:`synfire.kernels.integer_conv`.

Definition: :mod:`synfire.kernels.integer_neuron.reference`.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.integer_neuron import reference
from synfire.kernels.integer_neuron.reference import IntegerNeuron

__all__ = ["NO_BOUND", "IntegerNeuron", "bound_of", "integer_fire"]

NO_BOUND = 2**31 - 1


def without_triton() -> str | None:
    """Why no Triton kernel can run here."""
    return None if find_spec("triton") else 'Triton is absent: pip install "synfire[cuda]"'


def bound_of(threshold: Tensor | int, levels: int, bias: Tensor | None = None) -> int:
    """The promise ``bound`` of a layer: the largest of \\|bias\\| and (levels + 1) * threshold.

    It waits for tensors on a GPU, so it belongs where a graph is loaded, not where it runs.

    Example:
        >>> bound_of(100, levels=4, bias=torch.tensor([-700, 20]))
        700
    """
    largest = int(threshold.max()) if isinstance(threshold, Tensor) else threshold
    of_bias = int(bias.long().abs().max()) if bias is not None and bias.numel() else 0
    return max((levels + 1) * largest, of_bias)


def check_int32(x: Tensor | None, what: str, shape: tuple[int, ...]) -> None:
    """An optional int32 tensor of a known shape, or one sentence."""
    if x is not None and (x.dtype != torch.int32 or tuple(x.shape) != shape):
        raise InputError(f"{what} is int32 {list(shape)}, got {x.dtype} {list(x.shape)}.")


def check_layer(
    rows: int,
    columns: int,
    bias: Tensor | None,
    threshold: Tensor | None,
    threshold_value: int,
    v: Tensor | None,
    timesteps: int,
    levels: int,
) -> None:
    """What all operators with an integer neuron ask of their arguments; ``rows`` are T*B."""
    check_int32(bias, "a bias", (columns,))
    if threshold is not None:
        check_int32(threshold, "a threshold tensor", (columns,))
    elif threshold_value < 1 or (levels + 1) * threshold_value > NO_BOUND:
        raise ConfigError(
            f"a threshold is at least 1, and (levels + 1) * threshold below 2**31, got {threshold_value} "
            f"with levels={levels}: scale weights and thresholds down together."
        )
    if timesteps < 1 or rows % timesteps:
        raise InputError(
            f"the first axis of a folded tensor is T*B: expected a multiple of timesteps={timesteps}, got {rows} rows."
        )
    check_int32(v, "the initial membrane", (rows // timesteps, columns))


def split(threshold: Tensor | int, columns: int) -> tuple[Tensor | None, int]:
    """A threshold as the two arguments of an operator's schema: [N] or None, and the constant."""
    if isinstance(threshold, Tensor):
        return (threshold.expand(columns) if threshold.ndim == 0 else threshold), 0
    return None, threshold


def spread(threshold: Tensor | None, threshold_value: int, like: Tensor) -> Tensor:
    """The threshold as a tensor for the reference."""
    if threshold is not None:
        return threshold
    return torch.full((), threshold_value, dtype=torch.int32, device=like.device)


def fire_rows(
    x: Tensor,
    threshold: Tensor | None,
    threshold_value: int,
    v: Tensor | None,
    timesteps: int,
    neuron: IntegerNeuron,
) -> tuple[Tensor, Tensor]:
    """The reference on folded rows: x int32 [T*B, N] to uint8 [T*B, N] and the membrane [B, N]."""
    steps = x.reshape(timesteps, x.shape[0] // timesteps, x.shape[1])
    rest = torch.zeros_like(steps[0]) if v is None else v
    counts, last = reference.forward(steps, rest, spread(threshold, threshold_value, x), neuron)
    return counts.reshape(x.shape), last


def _triton(*arguments: Any) -> tuple[Tensor, Tensor]:
    module = importlib.import_module("synfire.kernels.integer_neuron.triton")
    result: tuple[Tensor, Tensor] = module.fire_rows(*arguments)
    return result


_dispatch = Dispatch(
    "integer_fire",
    Path("triton", _triton, ("cuda",), (), lambda *tensors, **options: without_triton()),
    Path("reference", fire_rows),
)


@torch.library.custom_op("synfire::integer_fire", mutates_args=())
def integer_fire_op(
    x: Tensor,
    threshold: Tensor | None,
    threshold_value: int,
    v: Tensor | None,
    timesteps: int,
    levels: int,
    rounding: str,
    reset: str,
    dv: int,
) -> tuple[Tensor, Tensor]:
    """Schema: x int32 [T*B, N] to counts uint8 [T*B, N] and the last membrane int32 [B, N]."""
    if x.dtype != torch.int32 or x.ndim != 2:
        raise InputError(
            f"an integer neuron takes int32 [T*B, N], got {x.dtype} {list(x.shape)}; it has no gradient: train with "
            "IntegerLIF and quantise."
        )
    check_layer(x.shape[0], x.shape[1], None, threshold, threshold_value, v, timesteps, levels)
    neuron = IntegerNeuron(levels, rounding, reset, dv)
    counts, last = _dispatch.choose(x).run(x, threshold, threshold_value, v, timesteps, neuron)
    return counts, last


@integer_fire_op.register_fake
def _(x, threshold, threshold_value, v, timesteps, levels, rounding, reset, dv):  # type: ignore[no-untyped-def]
    last = x.new_empty((x.shape[0] // timesteps, x.shape[1]))
    return torch.empty_like(x, dtype=torch.uint8, memory_format=torch.contiguous_format), last


def integer_fire(
    x: Tensor,
    threshold: Tensor | int,
    neuron: IntegerNeuron,
    timesteps: int = 1,
    v: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Counts and last membrane of an integer neuron layer.

    Args:
        x: inputs int32 [T*B, ..., N].
        threshold: int32 [N], or one integer for all channels.
        neuron: the constants.
        timesteps: T.
        v: membrane before the first timestep, int32 [B, ..., N]; None is rest.

    Returns:
        counts uint8 [T*B, ..., N]; membrane int32 [B, ..., N].

    Raises:
        InputError: a dtype or shape does not fit; floats are refused, since there is no gradient.
        ConfigError: a threshold that cannot work.

    Example:
        >>> x = torch.tensor([[4, 11], [1, -3]], dtype=torch.int32)
        >>> integer_fire(x, 5, IntegerNeuron(levels=4), timesteps=2)
        (tensor([[1, 2],
                [0, 0]], dtype=torch.uint8), tensor([[ 0, -2]], dtype=torch.int32))
    """
    if x.ndim < 1:
        raise InputError("an integer neuron takes int32 [T*B, ..., N], got a scalar.")
    state = (x.shape[0] // max(timesteps, 1), *x.shape[1:])
    check_int32(v, "the initial membrane", state)
    columns = x.shape[-1]
    tensor, value = split(threshold, columns)
    counts, last = integer_fire_op(
        _rows(x, columns), tensor, value, None if v is None else _rows(v, columns), timesteps,
        neuron.levels, neuron.rounding, neuron.reset, neuron.dv,
    )  # fmt: skip
    return counts.reshape(x.shape), last.reshape(state)


def _rows(x: Tensor, columns: int) -> Tensor:
    return x.reshape(-1, columns) if columns else x.reshape(x.shape[:-1].numel(), 0)
