"""Synfire: train spiking nets with integers, run them with spikes, prove the two are the same, price them, ship them.

Names resolve lazily: importing the package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Stream": "synfire.core.stream",
    "TimeFolded": "synfire.core.time",
    "convert_activations": "synfire.export.conversion",
    "create_model": "synfire.core.models",
    "list_models": "synfire.core.models",
    "load": "synfire.core.models",
    "load_released": "synfire.core.released",
    "neuron_from_step": "synfire.neurons.from_step",
    "packed_activations": "synfire.layers.packed_activations",
    "save": "synfire.core.models",
    "set_timesteps": "synfire.core.time",
    "verify": "synfire.export.verification",
}
_ROOMS = (
    "backbones",
    "core",
    "datasets",
    "encoders",
    "energy",
    "export",
    "functional",
    "kernels",
    "layers",
    "neurons",
    "report",
    "training",
)
__all__ = sorted([*_HOMES, *_ROOMS, "__version__"])  # noqa: PLE0605

if TYPE_CHECKING:
    from synfire.core.models import create_model as create_model
    from synfire.core.models import list_models as list_models
    from synfire.core.models import load as load
    from synfire.core.models import save as save
    from synfire.core.released import load_released as load_released
    from synfire.core.stream import Stream as Stream
    from synfire.core.time import TimeFolded as TimeFolded
    from synfire.core.time import set_timesteps as set_timesteps
    from synfire.export.conversion import convert_activations as convert_activations
    from synfire.export.verification import verify as verify
    from synfire.layers.packed_activations import packed_activations as packed_activations
    from synfire.neurons.from_step import neuron_from_step as neuron_from_step


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"synfire.{name}")
    raise AttributeError(f"module 'synfire' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
