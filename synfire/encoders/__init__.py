"""Encoders: what each timestep sees of a static input. One class a file; generators are call arguments."""

from synfire.encoders.direct import Direct
from synfire.encoders.latency import Latency
from synfire.encoders.poisson import Poisson

__all__ = ["Direct", "Latency", "Poisson"]
