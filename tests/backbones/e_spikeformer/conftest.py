"""Small tests: one torch thread, fixed seed."""

from tests.small import one_thread, seeded

__all__ = ["one_thread", "seeded"]
