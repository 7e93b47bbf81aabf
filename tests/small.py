"""Fixtures for rooms of many small tests; a room's ``conftest.py`` imports what it uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One torch thread, so that tests side by side do not fight for cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers in each run and in each order of tests."""
    torch.manual_seed(20)
