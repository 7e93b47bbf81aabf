"""Neurons: one file each. A neuron takes and returns one folded tensor [T*B, ...] and starts every call from rest."""

import synfire.neurons.lowering  # noqa: F401  (registers the rules)
from synfire.kernels.surrogates import BUMPS as SURROGATES
from synfire.kernels.surrogates import Surrogate
from synfire.neurons.cuba_lif import CubaLIF
from synfire.neurons.from_step import neuron_from_step
from synfire.neurons.integer_lif import PRESETS, IntegerLIF
from synfire.neurons.integrate_and_fire import IF
from synfire.neurons.lif import LIF
from synfire.neurons.parametric_lif import ParametricLIF
from synfire.neurons.time_constants import decay_from_tau

__all__ = [
    "IF",
    "LIF",
    "PRESETS",
    "SURROGATES",
    "CubaLIF",
    "IntegerLIF",
    "ParametricLIF",
    "Surrogate",
    "decay_from_tau",
    "neuron_from_step",
]
