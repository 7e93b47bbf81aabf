"""Adaptive gradient clipping (Brock et al. 2021, High-Performance Large-Scale Image Recognition)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

SMALLEST_NORM = 1e-3
"""Norm that a row of weights counts with at least; rows that begin at zero could never move."""


def clipped_parameters(net: nn.Module) -> list[nn.Parameter]:
    """All parameters but those of the last linear layer, which the paper leaves unclipped."""
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    spared = {id(p) for p in linears[-1].parameters()} if linears else set()
    return [parameter for parameter in net.parameters() if id(parameter) not in spared]


@torch.no_grad()
def clip_adaptively(parameters: Iterable[Tensor], factor: float) -> None:
    """Scale each row of a gradient down to ``factor`` times the norm of its row of weights.

    A row is what feeds one output: axis 0 of a matrix or kernel; a vector is one row.

    Example:
        >>> weight = nn.Parameter(torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
        >>> weight.grad = torch.tensor([[0.0, 10.0], [0.0, 0.1]])
        >>> clip_adaptively([weight], 0.1)
        >>> weight.grad
        tensor([[0.0000, 0.5000],
                [0.0000, 0.1000]])
    """
    for parameter in parameters:
        if parameter.grad is not None:
            largest = _row_norms(parameter).clamp(min=SMALLEST_NORM) * factor
            lengths = _row_norms(parameter.grad)
            scale = torch.where(lengths > largest, largest / lengths.clamp(min=1e-6), 1.0)
            parameter.grad.mul_(scale)


def _row_norms(tensor: Tensor) -> Tensor:
    if tensor.ndim <= 1:
        return torch.linalg.vector_norm(tensor)
    return torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.ndim)), keepdim=True)
