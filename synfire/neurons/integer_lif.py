"""Integer counts in training, binary spikes at inference: SFA, I-LIF and NI-LIF are choices of one neuron."""

from __future__ import annotations

from typing import Any

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.kernels.integrate_fire import check_levels
from synfire.kernels.integrate_fire.reference import ROUNDINGS
from synfire.kernels.surrogates import Surrogate
from synfire.neurons.spiking import SpikingNeuron, check_decay, check_threshold

WINDOWS = ("inclusive", "exclusive")

PRESETS: dict[str, dict[str, Any]] = {
    "sfa_base": {"levels": 4, "decay": 0.0, "reset": "none", "rounding": "half_even"},
    "sfa_large": {"levels": 4, "decay": 0.0, "reset": "none", "window": "exclusive"},
    "sfa_event": {"levels": 8, "decay": 1.0, "rounding": "half_even", "detach_reset": False},
    "i_lif": {"levels": 4, "decay": 0.25, "normalize": False, "rounding": "half_even"},
    "i_lif_gen1": {
        "levels": 4,
        "decay": 0.5,
        "input_gain": 0.5,
        "normalize": False,
        "rounding": "half_even",
    },
    "ni_lif": {"levels": 4, "decay": 0.25, "rounding": "half_even"},
}
"""The forms of the papers: Spike-driven Transformer V3 base, large, event (SFA); SpikeYOLO on COCO and on Gen1 (I-LIF);
Spike2Former (NI-LIF). They differ in rounding of ties, gradient window, leak, reset gradient and normalisation."""


class IntegerLIF(SpikingNeuron):
    r"""Emits up to ``levels`` spikes a timestep as one integer count.

        h_t = decay * v_{t-1} + input_gain * x_t
        s_t = round(clip(h_t / threshold, 0, levels))
        v_t = h_t - threshold * s_t                      (soft reset)
        y_t = s_t * scale,  scale = 1 / levels with ``normalize``, else 1

    The gradient is straight through: ds/du = 1 for u = h / threshold in [0, levels], else 0. Other surrogates put one
    bump at the threshold of each count. At inference the same counts come out of an integrate-and-fire neuron with
    threshold 1/2 and reset 1 (in units of the threshold) run for ``levels`` binary slots.

    Args:
        levels: D, the largest count of one timestep. D = 1 is a binary neuron with threshold 1/2.
        timesteps: T, real timesteps folded into the first axis.
        decay: factor kept from one timestep to the next, in [0, 1]; irrelevant for T = 1.
        threshold: membrane worth one count, above 0.
        normalize: divide the output by ``levels``, so that it stays in [0, 1] whatever D is.
        rounding: of ties: ``half_up`` (floor(u + 1/2)), ``half_even`` (torch.round), or ``floor`` (no half at all).
        window: whether the ends 0 and D of the gradient window count: ``inclusive`` or ``exclusive``.
        reset: ``soft`` (by the integer count), ``hard`` or ``none``.
        detach_reset: whether gradients ignore the reset.
        input_gain: factor of the input (SpikeYOLO's Gen1 form: 1/2).
        surrogate: name or :class:`Surrogate`, in units of counts.
        scale: worth of one count, instead of the one that ``normalize`` gives.

    Shapes: [T*B, ...] to count * scale of the same shape and dtype; membranes are float32 (float64 for float64).

    Sources: Yao et al., "Scaling Spike-driven Transformer with Efficient Spike Firing Approximation Training" (TPAMI
    2025); Luo et al., "Integer-Valued Training and Spike-Driven Inference Spiking Neural Network" (ECCV 2024);
    Lei et al., "Spike2Former" (AAAI 2025).

    Example:
        >>> import torch
        >>> IntegerLIF(levels=4)(torch.tensor([-1.0, 0.5, 1.4, 9.0])).tolist()
        [0.0, 0.25, 0.25, 1.0]
        >>> IntegerLIF.preset("i_lif", timesteps=2).levels
        4
    """

    def __init__(
        self,
        levels: int = 4,
        timesteps: int = 1,
        decay: float = 0.25,
        threshold: float = 1.0,
        normalize: bool = True,
        rounding: str = "half_up",
        window: str = "inclusive",
        reset: str = "soft",
        reset_value: float = 0.0,
        detach_reset: bool = True,
        input_gain: float = 1.0,
        surrogate: str | Surrogate = "rectangle",
        scale: float | None = None,
    ) -> None:
        if rounding not in ROUNDINGS:
            raise ConfigError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {rounding!r}.")
        if window not in WINDOWS:
            raise ConfigError(f"window must be inclusive or exclusive, got {window!r}.")
        check_levels(levels)
        super().__init__(
            timesteps,
            levels=levels,
            scale=scale if scale is not None else (1 / levels if normalize else 1.0),
            reset=reset,
            surrogate=surrogate,
            decay=check_decay(decay),
            threshold=check_threshold(threshold),
            rounding=rounding,
            inclusive=window == "inclusive",
            reset_value=reset_value,
            detach_reset=detach_reset,
            input_gain=input_gain,
            unit="count",
        )

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> IntegerLIF:
        """The neuron of a published system (a key of ``PRESETS``), with ``overrides``."""
        if name not in PRESETS:
            raise UnknownNameError("IntegerLIF preset", name, PRESETS)
        return cls(**(PRESETS[name] | overrides))
