"""Inputs of a saved graph: arrays from files, or a dataset's images, in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from synfire.core.errors import InputError
from synfire.export.graph import SpikeGraph

Array = np.ndarray[Any, Any]


def read_array(path: Path) -> Array:
    """A floating-point array from a ``.npy`` file, without unpickling; NaN is refused."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read as a .npy array: {reason}.") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(f"{path}: expected one array of numbers.")
    array = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
    wrong = int((~np.isfinite(array)).sum())
    if wrong:
        raise InputError(f"{path} holds {wrong} values that are NaN or infinite: clean the input.")
    return array


def in_time(graph: SpikeGraph, x: Array) -> Array:
    """Still inputs [B, ...] shown at each timestep [T, B, ...]; timed inputs as they are."""
    axes = len(graph.source.shape)
    if x.ndim == axes + 2:
        return x
    encoder = graph.source.attrs.get("encoder") or {}
    repeats = encoder.get("name") == "Direct" and encoder.get("frames") == "repeat"
    if x.ndim == axes + 1 and (repeats or (graph.timesteps == 1 and not encoder.get("stochastic"))):
        return np.broadcast_to(x, (graph.timesteps, *x.shape))
    raise InputError(
        f"expected encoded inputs [T, B, {', '.join(map(str, graph.source.shape))}] "
        f"(encoder {encoder.get('name', 'unknown')}), got shape {x.shape}."
    )
