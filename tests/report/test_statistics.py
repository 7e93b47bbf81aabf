from __future__ import annotations

import pytest

from synfire.report.statistics import mean_and_deviation, wilson


def test_wilson_interval() -> None:
    low, high = wilson(358, 360)
    assert (low, high) == (pytest.approx(0.97996, abs=2e-5), pytest.approx(0.99848, abs=2e-5))


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (5, 10), (9940, 10000)])
def test_the_interval_solves_its_equation(correct: int, total: int) -> None:
    share = correct / total
    for bound in wilson(correct, total):
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(
                1.959964 * (bound * (1 - bound) / total) ** 0.5
            )
        else:
            assert bound == share


def test_no_samples_tell_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_deviation_of_seeds() -> None:
    assert mean_and_deviation([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_and_deviation([0.5]) == (0.5, 0.0)
