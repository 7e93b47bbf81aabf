"""LAMB: Adam whose step of each tensor is measured by the tensor's own norm (You et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    r"""LAMB, algorithm 2 of You et al. 2020 (Large Batch Optimization for Deep Learning).

    With the bias-corrected moments :math:`\hat m, \hat v` of Adam, for each tensor w:

    .. math::
        u = \hat m / (\sqrt{\hat v} + \epsilon) + \lambda w, \qquad
        w \leftarrow w - \eta \, \frac{\|w\|}{\|u\|} \, u

    The trust ratio is 1 where a norm is 0, and in groups with ``adapt=False`` (biases, norms).

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay rates of both moments.
        eps: added to the root of the second moment.
        weight_decay: lambda.
        trust_clip: let the trust ratio not exceed 1 (LAMBC, Fong et al. 2020).

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> weight.grad = torch.tensor([1.0, -1.0])
        >>> Lamb([weight], lr=0.1).step()
        >>> [round(value, 3) for value in weight.tolist()]
        [2.646, 4.354]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        trust_clip: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "trust_clip": trust_clip,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` is evaluated first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step(group, weights)
        return loss

    def _step(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        updates = self._adam(group, weights)
        if group["weight_decay"]:
            torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
        if group["adapt"]:
            ratios = _trust_ratios(weights, updates, group["trust_clip"])
            torch._foreach_mul_(updates, ratios)
        torch._foreach_add_(weights, updates, alpha=-group["lr"])

    def _adam(self, group: dict[str, Any], weights: list[Tensor]) -> list[Tensor]:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        first, second = (
            [self._moment(weight, name) for weight in weights] for name in ("first", "second")
        )
        beta1, beta2 = group["betas"]
        group["steps"] = steps = group.get("steps", 0) + 1
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        divisors = torch._foreach_div(second, 1 - beta2**steps)
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, group["eps"])
        updates = torch._foreach_div(first, 1 - beta1**steps)
        torch._foreach_div_(updates, divisors)
        return list(updates)

    def _moment(self, weight: Tensor, name: str) -> Tensor:
        state = self.state[weight]
        if name not in state:
            state[name] = torch.zeros_like(weight)
        moment: Tensor = state[name]
        return moment


def _trust_ratios(weights: list[Tensor], updates: list[Tensor], clip: bool) -> list[Tensor]:
    ratios = []
    for size, length in zip(
        torch._foreach_norm(weights), torch._foreach_norm(updates), strict=True
    ):
        ratio = torch.where((size > 0) & (length > 0), size / length, 1.0)
        ratios.append(ratio.clamp(max=1.0) if clip else ratio)
    return ratios
