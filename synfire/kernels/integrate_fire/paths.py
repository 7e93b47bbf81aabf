"""The implementations of the neuron operator, and the choice between them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from synfire.kernels import native as extension
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.integrate_fire import native, plain, triton
from synfire.kernels.integrate_fire.reference import Dynamics

_SINGLE = (torch.float32, torch.float16, torch.bfloat16)
_MOST_LEVELS = 1 << 20


def _native_refuses(x: Tensor, dynamics: Dynamics | None = None, **options: Any) -> str | None:
    if dynamics is not None and dynamics.levels > _MOST_LEVELS:
        return f"it counts up to {_MOST_LEVELS}, the neuron has {dynamics.levels} levels"
    return extension.absence()


PATHS = Dispatch(
    "integrate_fire",
    Path("triton", triton, ("cuda",), _SINGLE, triton.why_not),
    Path("native", native, ("cpu",), _SINGLE, _native_refuses),
    Path("reference", plain),
)


def path_for(x: Tensor, dynamics: Dynamics) -> ModuleType:
    """The module with forward, backward, moments and backward_sums that runs ``x`` [T, N] (or a gradient like it)."""
    module: ModuleType = PATHS.choose(x, dynamics=dynamics).run
    return module
