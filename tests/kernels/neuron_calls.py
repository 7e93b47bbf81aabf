"""Calls of the neuron operator's paths, with every option, to compare one path on its device with the reference."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from synfire.kernels.integrate_fire import neuron_dynamics, plain
from synfire.kernels.integrate_fire.call import Affine, Channelwise, Epilogue
from synfire.kernels.integrate_fire.reference import Dynamics
from synfire.kernels.surrogates import BUMPS, Surrogate

RECTANGLE = Surrogate("rectangle")
INTEGER: dict[str, Any] = {
    "levels": 4, "rounding": "half_up", "unit": "count", "surrogate": RECTANGLE,
}  # fmt: skip
BINARY: dict[str, Any] = {"surrogate": RECTANGLE}

RECORDABLE: dict[str, dict[str, Any]] = {
    "integer": INTEGER,
    "15 levels, half even": INTEGER | {"levels": 15, "rounding": "half_even"},
    "exclusive": INTEGER | {"inclusive": False},
    "through the soft reset": INTEGER | {"detach_reset": False},
    "floor, hard": INTEGER | {"rounding": "floor", "reset": "hard", "reset_value": 0.1},
    "binary": BINARY,
    "binary, wide": {"surrogate": Surrogate("rectangle", 1.6, 0.7)},
    "binary, hard": BINARY | {"reset": "hard", "reset_value": -0.2},
    "no reset, gain": BINARY | {"reset": "none", "input_gain": 0.3},
    "current": INTEGER | {"current_decay": 0.8},
    "decay input": INTEGER | {"decay_input": True},
    "current, decay input, hard": BINARY
    | {"current_decay": 0.7, "decay_input": True, "reset": "hard"},
}
RECOMPUTED: dict[str, dict[str, Any]] = {
    **{f"{name}, binary": {"surrogate": Surrogate(name)} for name in BUMPS},
    **{
        f"{name}, 3 levels": INTEGER | {"levels": 3, "surrogate": Surrogate(name, 1.7, 0.6)}
        for name in BUMPS
    },
    "narrow rectangles": INTEGER | {"surrogate": Surrogate("rectangle", 0.3)},
    "through the hard reset": INTEGER
    | {"reset": "hard", "reset_value": 0.1, "detach_reset": False},
    "arctan through the soft reset": {"detach_reset": False},
    "arctan, current, hard": {"current_decay": 0.6, "reset": "hard", "decay_input": True},
}
INEXACT = ("sigmoid", "gaussian")
"""Their exp differs in the last places."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Values of which many lie on ties and on the edges of windows."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    x = torch.randn(shape, generator=generator) * 1.5 + 0.5
    return torch.where(torch.rand(shape, generator=generator) < 0.5, (x * 8).round() / 8, x)


@dataclass(frozen=True)
class Call:
    """One neuron layer and its tensors, on the CPU."""

    dynamics: Dynamics
    x: Tensor
    grad: Tensor
    has_current: bool = False
    v: Tensor | None = None
    i: Tensor | None = None
    grad_v: Tensor | None = None
    grad_i: Tensor | None = None
    decay: Channelwise | None = None
    threshold: Channelwise | None = None
    affine: Affine | None = None
    epilogue: Epilogue | None = None
    output_scale: float = 1.0

    @classmethod
    def of(
        cls,
        options: dict[str, Any],
        timesteps: int,
        elements: int,
        dtype: torch.dtype = torch.float32,
        **more: Any,
    ) -> Call:
        """Random input and gradient [T, N]; at rest, decay 0.9, threshold 1 unless ``more`` says otherwise."""
        call = cls(
            neuron_dynamics(**options),
            (draw(timesteps, elements) * (8 if options.get("decay_input") else 1)).to(dtype),
            torch.randn(timesteps, elements, generator=torch.Generator().manual_seed(elements)).to(
                dtype
            ),
            has_current="current_decay" in options,
            decay=constant(0.9),
            threshold=constant(1.0),
        )
        return replace(call, **more)

    def with_states(self) -> Call:
        """The same with initial states and gradients of the last ones."""
        elements = self.x.shape[1]
        states = [draw(elements, seed=k) for k in range(4)]
        return replace(
            self,
            v=states[0],
            grad_v=states[1],
            i=states[2] if self.has_current else None,
            grad_i=states[3] if self.has_current else None,
        )

    def to(self, device: str) -> Call:
        """All tensors on another device."""
        return replace(self, **{f.name: moved(getattr(self, f.name), device) for f in fields(self)})

    def _neuron(self) -> tuple[Any, ...]:
        i = self.i
        if i is None and self.has_current:
            i = self.x.new_zeros(self.x.shape[1], dtype=torch.float32)
        return self.v, i, self.decay, self.threshold, self.dynamics

    def forward(self, path: Any, **options: Any) -> Any:
        """``path.forward``."""
        return path.forward(
            self.x, *self._neuron(), affine=self.affine, output_scale=self.output_scale, **options
        )

    def backward(self, path: Any, record: Tensor | None = None, **options: Any) -> Any:
        """``path.backward``, from x unless there is a record."""
        x = self.x if record is None or self.epilogue is not None else None
        return path.backward(
            self.grad, self.grad_v, self.grad_i, x, record, *self._neuron(), affine=self.affine,
            output_scale=self.output_scale, epilogue=self.epilogue, **options,
        )  # fmt: skip

    def backward_sums(self, path: Any, mean: Channelwise) -> Any:
        """``path.backward_sums``."""
        return path.backward_sums(
            self.grad, self.grad_v, self.grad_i, self.x, *self._neuron(), affine=self.affine,
            output_scale=self.output_scale, mean=mean,
        )  # fmt: skip


def constant(value: float) -> Channelwise:
    """A value that the host knows."""
    return Channelwise(torch.tensor([value]), 1, value)


def channelwise(channels: int, inner: int, low: float, high: float, seed: int = 0) -> Channelwise:
    """Random values of channels between two bounds."""
    generator = torch.Generator().manual_seed(seed)
    return Channelwise(low + (high - low) * torch.rand(channels, generator=generator), inner)


def affine(channels: int, inner: int) -> Affine:
    """A random affine prologue."""
    return Affine(
        channelwise(channels, inner, 0.5, 1.5, 1), channelwise(channels, inner, -0.5, 0.5, 2)
    )


def epilogue(channels: int, inner: int) -> Epilogue:
    """A random epilogue."""
    return Epilogue(
        channelwise(channels, inner, 0.5, 1.5, 3), channelwise(channels, inner, -0.5, 0.5, 4),
        channelwise(channels, inner, -1, 1, 5), channelwise(channels, inner, -0.1, 0.1, 6),
    )  # fmt: skip


def moved(value: Any, device: str) -> Any:
    """A tensor, or the tensors of a dataclass of the contract, on another device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (Channelwise, Affine, Epilogue)):
        return type(value)(*(moved(getattr(value, f.name), device) for f in fields(value)))
    return value


def differences(found: Any, expected: Any, *, exact: bool = True) -> list[str]:
    """What differs between two results of the contract (dataclasses or tuples), in words."""
    if isinstance(expected, (tuple, list)):
        pairs = {str(k): pair for k, pair in enumerate(zip(found, expected, strict=True))}
    else:
        pairs = {f.name: (getattr(found, f.name), getattr(expected, f.name)) for f in fields(found)}
    return [
        f"{name}: {why}"
        for name, (mine, theirs) in pairs.items()
        if (why := _difference(mine, theirs, exact)) is not None
    ]


def _difference(found: Tensor | None, expected: Tensor | None, exact: bool) -> str | None:
    if found is None or expected is None:
        return None if found is expected else f"{type(found)}, not {type(expected)}"
    found = found.cpu()
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype} {tuple(found.shape)}, not {expected.dtype} {tuple(expected.shape)}"
    if exact and torch.equal(found, expected):
        return None
    near = torch.isclose(found.double(), expected.double(), rtol=1e-5, atol=1e-6, equal_nan=True)
    same = near if not exact else (found == expected) | (found.isnan() & expected.isnan())
    if bool(same.all()):
        return None
    place = (~same).nonzero()[0].tolist()
    return (
        f"{int((~same).sum())} of {same.numel()} differ, first at {place}: "
        f"{found[tuple(place)].item()} instead of {expected[tuple(place)].item()}"
    )


def check(call: Call, path: Any, device: str, *, exact: bool = True, **options: Any) -> None:
    """Forward (with record where possible) and backward of ``path`` on ``device`` equal those of the reference."""
    record = plain.recordable(call.dynamics)
    expected = call.forward(plain, record=record)
    there = call.to(device)
    found = there.forward(path, record=record, **options)
    assert differences(found, expected) == []
    assert int((expected.out != 0).sum()) > 0 or expected.out.numel() < 32
    grads = call.backward(plain, parameters=True)
    assert differences(there.backward(path, parameters=True), grads, exact=exact) == []
    without = replace(grads, decay=None, threshold=None)
    assert differences(there.backward(path), without, exact=exact) == []
    if record:
        assert expected.record is not None
        again = there.backward(path, expected.record.to(device))
        assert differences(again, call.backward(plain, expected.record), exact=exact) == []
