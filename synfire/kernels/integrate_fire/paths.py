"""The implementations of the neuron operator, and the choice between them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from synfire.kernels import native
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.integrate_fire import plain

_SINGLE = (torch.float32, torch.float16, torch.bfloat16)


def _native_refuses(x: Tensor, **options: Any) -> str | None:
    return native.absence()


PATHS = Dispatch(
    "integrate_fire",
    Path("reference", plain),
)


def path_for(x: Tensor) -> ModuleType:
    """The module with forward, backward, moments and backward_sums that runs ``x`` [T, N] (or a gradient like it)."""
    module: ModuleType = PATHS.choose(x).run
    return module
