"""Small tests: one torch thread, fixed seed."""

from tests.kernels.native_case import lanes
from tests.small import one_thread, seeded

__all__ = ["lanes", "one_thread", "seeded"]
