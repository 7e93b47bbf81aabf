"""Operations counted on an executed graph and their estimated energy. Needs numpy only."""

from synfire.energy.counting import Counts, count
from synfire.energy.dense import DenseLayer, DenseMacs, dense_macs
from synfire.energy.fan_out import mean_fan_out
from synfire.energy.messages import activation_bits
from synfire.energy.pricing import Estimate
from synfire.energy.profiling import profile
from synfire.energy.records import Layer, Neurons, Operation, Totals
from synfire.energy.report import Conditions, EnergyReport
from synfire.energy.tables import Hardware, from_dict, hardware, hardware_names

__all__ = [
    "Conditions",
    "Counts",
    "DenseLayer",
    "DenseMacs",
    "EnergyReport",
    "Estimate",
    "Hardware",
    "Layer",
    "Neurons",
    "Operation",
    "Totals",
    "activation_bits",
    "count",
    "dense_macs",
    "from_dict",
    "hardware",
    "hardware_names",
    "mean_fan_out",
    "profile",
]
