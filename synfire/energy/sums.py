"""Exact sums of counts over a sample, on numpy arrays or torch tensors, without copies in double width."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
PerSample = np.ndarray[Any, np.dtype[np.float64]]

EXACT = 2**24
"""float32 holds every whole number up to here, so sums that stay below are exact in any order."""


def to_numpy(value: Array) -> PerSample:
    """Any array as float64 in main memory."""
    if not isinstance(value, np.ndarray):
        value = value.detach().cpu().numpy()
    return value.astype(np.float64)


def total(counts: Array, largest: int) -> PerSample:
    """Sum over each sample [B, ...] of whole numbers up to ``largest``."""
    flat = counts.reshape(counts.shape[0], -1)
    if flat.shape[1] * largest >= EXACT:
        return to_numpy(flat).sum(1)
    return to_numpy(flat.sum(1))


class Reach:
    """A fan-out map, to be multiplied with counts and summed over a sample."""

    def __init__(self, fan_out: PerSample) -> None:
        self.weights = fan_out.ravel()
        self.whole = bool((self.weights == np.round(self.weights)).all())
        self._held: Array = None

    def operations(self, counts: Array, largest: int) -> PerSample:
        """Synapses reached by counts [B, ...] up to ``largest``: [B]."""
        flat = counts.reshape(counts.shape[0], -1)
        piece = int(EXACT // max(1.0, largest * self.weights.max(initial=0.0)))
        if not self.whole or piece < 1:
            return to_numpy(flat) @ self.weights
        weights = self._like(flat)
        pieces = range(0, flat.shape[1], piece)
        parts = [to_numpy(flat[:, i : i + piece] @ weights[i : i + piece]) for i in pieces]
        return np.sum(parts, axis=0, dtype=np.float64)

    def _like(self, value: Array) -> Array:
        """The weights on the device and in the type of ``value``, kept for the next batch."""
        if isinstance(value, np.ndarray):
            if not isinstance(self._held, np.ndarray) or self._held.dtype != value.dtype:
                self._held = self.weights.astype(value.dtype)
            return self._held
        import torch

        if not isinstance(self._held, torch.Tensor) or self._held.device != value.device:
            self._held = torch.from_numpy(self.weights).to(value)
        return self._held
