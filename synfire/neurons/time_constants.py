"""Decays are stated per step; this turns a time constant into one and says how."""

from __future__ import annotations

import math

from synfire.core.errors import ConfigError


def decay_from_tau(tau: float, method: str = "euler") -> float:
    """The factor by which a membrane shrinks in one step.

    Args:
        tau: time constant in steps, above 0 (``euler``: at least 1).
        method: ``euler`` for 1 - 1/tau (what spikingjelly calls tau), ``exact`` for exp(-1/tau).

    Example:
        >>> decay_from_tau(2.0), round(decay_from_tau(2.0, "exact"), 3)
        (0.5, 0.607)
    """
    if method not in ("euler", "exact"):
        raise ConfigError(f"method must be euler or exact, got {method!r}.")
    if not tau > 0 or (method == "euler" and tau < 1):
        raise ConfigError(
            f"a time constant in steps must be above 0 (euler: at least 1), got {tau}."
        )
    return 1 - 1 / tau if method == "euler" else math.exp(-1 / tau)
