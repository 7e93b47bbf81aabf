"""The compiled CPU kernels, for float32 tensors in main memory.

Each function has the arguments and results of its reference
(:mod:`synfire.kernels.integrate_fire.reference`) and equals it bit for bit; only the gradients of
the sigmoid and the Gaussian surrogate, which need ``exp``, may differ in the last places.
:func:`takes` tells whether a tensor can go this way. Where the extension was not compiled it
answers no, and the first time a warning says how to mend that.
"""

from __future__ import annotations

import math
import warnings
from functools import cache, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from synfire.kernels.integrate_fire.reference import Dynamics
    from synfire.kernels.native import _native


@cache
def _extension() -> tuple[ModuleType | None, str]:
    """The compiled module, or None and the reason."""
    try:
        from synfire.kernels.native import _native
    except ImportError as problem:
        return None, str(problem)
    return _native, ""


def absence() -> str | None:
    """Why the compiled kernels cannot be used, and how to mend it; None where they can."""
    module, problem = _extension()
    if module is not None:
        return None
    return (
        f"the compiled CPU kernels of synfire are absent ({problem}), this runs on plain torch, several times slower: "
        "install a C++17 compiler, then synfire once more (pip install --force-reinstall --no-deps)"
    )


def available() -> bool:
    """Whether the compiled kernels can be used.

    Example:
        >>> available() in (True, False)
        True
    """
    return _extension()[0] is not None


@cache  # once in a process
def _warn_of_absence() -> None:
    warnings.warn(
        f"the compiled CPU kernels of synfire are absent ({_extension()[1]}): neurons run on plain "
        "torch, several times slower; install a C++17 compiler, then synfire once more "
        "(pip install --force-reinstall --no-deps).",
        UserWarning,
        stacklevel=3,
    )


def takes(x: Tensor) -> bool:
    """Whether the compiled kernels run ``x``: float32, in main memory.

    Where ``x`` fits but the extension is absent, the first call warns.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    if not available():
        _warn_of_absence()
        return False
    return True


@lru_cache(maxsize=256)
def _compiled(dynamics: Dynamics) -> _native.Dynamics:
    module, _ = _extension()
    assert module is not None
    return module.Dynamics(
        dynamics.levels,
        dynamics.rounding,
        dynamics.reset,
        dynamics.reset_value,
        dynamics.detach_reset,
        dynamics.input_gain,
        dynamics.decay_input,
        dynamics.current_decay,
        dynamics.surrogate.name,
        dynamics.surrogate.width,
        dynamics.surrogate.scale,
        dynamics.inclusive,
        dynamics.unit,
    )


def _spread(parameter: Tensor, state: torch.Size) -> tuple[Tensor, int]:
    """The values of a parameter that broadcasts against a state, and how many neighbours share."""
    if parameter.numel() == 1:
        return _plain(parameter), 1
    aligned = (1,) * (len(state) - parameter.ndim) + tuple(parameter.shape)
    kept = [axis for axis, size in enumerate(aligned) if size != 1]
    first, last = kept[0], kept[-1] + 1
    if aligned[first:last] == tuple(state[first:last]):
        return _plain(parameter), math.prod(state[last:])
    return _plain(parameter.expand(state)), 1


def _plain(x: Tensor) -> Tensor:
    return x.detach().contiguous()


def _plain_or_none(x: Tensor | None) -> Tensor | None:
    return None if x is None else _plain(x)


def integrate_fire(
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Tensor,
    threshold: Tensor,
    dynamics: Dynamics,
    *,
    output_scale: float = 1.0,
    threads: int | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Counts, last membrane and last current of ``reference.forward``.

    Args:
        x: input [T, B, ...], float32; made contiguous where it is not.
        v: membrane before the first timestep [B, ...]; None is rest (zero), and saves reading it.
        i: current before the first timestep [B, ...]; None means no current filter.
        decay, threshold: float32 tensors that broadcast against a state.
        dynamics: the constants.
        output_scale: the counts are multiplied with it on the way out.
        threads: how many at most (None: torch's number); small inputs use one.

    Returns:
        counts * output_scale [T, B, ...], membrane [B, ...], current [B, ...] or None; all float32
        and contiguous.
    """
    module, reason = _extension()
    if module is None:
        raise ImportError(f"the compiled kernels are absent: {reason}")
    counts = torch.empty_like(x, memory_format=torch.contiguous_format)
    v_last = counts.new_empty(x.shape[1:])
    i_last = None if i is None else torch.empty_like(v_last)
    module.integrate_fire_forward(
        _compiled(dynamics),
        x.shape[0],
        _plain(x),
        _plain_or_none(v),
        _plain_or_none(i),
        *_spread(decay, v_last.shape),
        *_spread(threshold, v_last.shape),
        output_scale,
        counts,
        v_last,
        i_last,
        threads or torch.get_num_threads(),
    )
    return counts, v_last, i_last


def integrate_fire_backward(
    grad_counts: Tensor,
    grad_v: Tensor,
    grad_i: Tensor | None,
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Tensor,
    threshold: Tensor,
    dynamics: Dynamics,
    *,
    output_scale: float = 1.0,
    parameters: bool = True,
    threads: int | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, v, i, decay and threshold, as ``reference.backward`` gives them.

    ``grad_counts`` [T, B, ...] is the gradient of counts * output_scale. Without ``parameters`` the
    last two are not computed and come back as None. Other arguments: :func:`integrate_fire`.
    """
    module, reason = _extension()
    if module is None:
        raise ImportError(f"the compiled kernels are absent: {reason}")
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    grad_v0 = grad_x.new_empty(x.shape[1:])
    grad_i0 = None if i is None else torch.empty_like(grad_v0)
    grad_decay = torch.empty_like(grad_v0) if parameters else None
    grad_threshold = torch.empty_like(grad_v0) if parameters else None
    module.integrate_fire_backward(
        _compiled(dynamics),
        x.shape[0],
        _plain(grad_counts),
        _plain(grad_v),
        _plain_or_none(grad_i),
        _plain(x),
        _plain_or_none(v),
        _plain_or_none(i),
        *_spread(decay, grad_v0.shape),
        *_spread(threshold, grad_v0.shape),
        output_scale,
        grad_x,
        grad_v0,
        grad_i0,
        grad_decay,
        grad_threshold,
        threads or torch.get_num_threads(),
    )
    return grad_x, grad_v0, grad_i0, grad_decay, grad_threshold
