"""What IF, LIF, ParametricLIF, CubaLIF and IntegerLIF share: one call of the integrate-and-fire operator."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from synfire.core.errors import ConfigError
from synfire.core.neuron import Neuron
from synfire.core.time import State
from synfire.kernels.integrate_fire import integrate_fire
from synfire.kernels.integrate_fire.reference import RESETS
from synfire.kernels.surrogates import Surrogate, as_surrogate


class SpikingNeuron(Neuron):
    """A neuron whose dynamics are a choice of arguments of :func:`synfire.kernels.integrate_fire.integrate_fire`."""

    def __init__(
        self,
        timesteps: int,
        *,
        levels: int = 1,
        scale: float = 1.0,
        reset: str = "soft",
        surrogate: str | Surrogate = "arctan",
        **constants: Any,
    ) -> None:
        super().__init__(timesteps, levels, scale)
        check_reset(reset)
        self.reset = reset
        self.surrogate = as_surrogate(surrogate)
        self.constants = constants

    def parameters_now(self) -> dict[str, Tensor | float]:
        """Decay and threshold of this call; learnable models override it."""
        return {}

    def run(self, x: Tensor, state: State | None, timesteps: int) -> tuple[Tensor, State]:
        state = state or {}
        out, v, i = self._fire(x, timesteps, v=state.get("v"), i=state.get("i"))
        assert v is not None
        return out, {"v": v} if i is None else {"v": v, "i": i}

    def emit(self, x: Tensor, timesteps: int) -> Tensor:
        return self._fire(x, timesteps, last_state=False)[0]

    def _fire(
        self, x: Tensor, timesteps: int, **options: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return integrate_fire(
            x,
            timesteps,
            levels=self.levels,
            output_scale=self.scale,
            reset=self.reset,
            surrogate=self.surrogate,
            # older compilers know no dict | dict
            **{**self.constants, **self.parameters_now(), **options},
        )

    def extra_repr(self) -> str:
        facts = {"timesteps": self.timesteps, "reset": self.reset} | {
            key: value
            for key, value in self.constants.items()
            if key in ("decay", "threshold", "current_decay", "input_gain")
        }
        if self.levels > 1:
            facts = {"levels": self.levels} | facts
        return ", ".join(f"{key}={value!r}" for key, value in facts.items())


def check_reset(reset: str) -> None:
    """Raise ConfigError unless ``reset`` is soft, hard or none."""
    if reset not in RESETS:
        raise ConfigError(f"reset must be one of {', '.join(RESETS)}, got {reset!r}.")


def check_threshold(threshold: float) -> float:
    """The threshold, if it is positive."""
    if not threshold > 0:
        raise ConfigError(f"a threshold must be positive, got {threshold}.")
    return float(threshold)


def check_decay(decay: float, name: str = "decay") -> float:
    """The decay, if it is a factor in [0, 1]."""
    if not 0 <= decay <= 1:
        raise ConfigError(
            f"{name} is the factor kept from one step to the next, in [0, 1], got {decay}."
        )
    return float(decay)
