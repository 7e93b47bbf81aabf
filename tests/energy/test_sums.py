from __future__ import annotations

import numpy as np
import pytest
import torch

from synfire.energy.sums import EXACT, Reach, total


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 40_000, EXACT])
def test_sums_are_exact_however_large(as_torch: bool, dtype: type, scale: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 1000, (3, 50)) * scale
    weights[0, 0] = 1
    counts = rng.integers(0, 5, (7, 3, 50))
    value = counts.astype(dtype)
    found = Reach(weights.astype(np.float64)).operations(
        torch.from_numpy(value) if as_torch else value, 4
    )
    assert found.dtype == np.float64
    assert found.tolist() == (counts * weights).sum((1, 2)).tolist()


def test_totals_beyond_float32() -> None:
    value = np.full((1, 10), EXACT - 1, np.float32)
    assert total(value, EXACT).tolist() == [10 * (EXACT - 1)]
    assert total(torch.from_numpy(value), EXACT).tolist() == [10 * (EXACT - 1)]


def test_fractions_of_the_interior_formula() -> None:
    assert Reach(np.full((2, 2), 2.25)).operations(np.ones((1, 2, 2), np.float32), 1).tolist() == [
        9.0
    ]


def test_a_map_is_kept_for_one_kind_of_array_at_a_time() -> None:
    reach, ones = Reach(np.ones((4,))), np.ones((2, 4), np.float32)
    for value in (ones, torch.from_numpy(ones), ones.astype(np.float64), torch.from_numpy(ones)):
        assert reach.operations(value, 1).tolist() == [4.0, 4.0]
