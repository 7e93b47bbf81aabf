"""Intervals of shares."""

from __future__ import annotations

import math

Z_95 = 1.959964


def wilson(correct: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a share, 95 % by default; right also near 0 and 1.

    centre = (p + z^2 / 2n) / (1 + z^2 / n), half width = z sqrt(p (1-p) / n + z^2 / 4n^2) / (1 + z^2 / n).

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927).

    Example:
        >>> [round(bound, 4) for bound in wilson(355, 360)]
        [0.9679, 0.9941]
    """
    if total < 1:
        return 0.0, 1.0
    share = correct / total
    spread = z**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return (centre - half if correct else 0.0), (centre + half if correct < total else 1.0)


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value)."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
