from __future__ import annotations

import pytest

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.energy import from_dict, hardware


def test_horowitz_figures() -> None:
    table = hardware("45nm")
    assert table.year == 2014
    assert "Horowitz" in table.source
    fp32 = table.precision("fp32")
    assert (fp32.ac, fp32.mac) == (0.9, 4.6)
    for name in ("fp16", "fp32", "int32"):
        add, multiply = (table.operations_pj[name][key] for key in ("add", "multiply"))
        assert table.precision(name).mac == pytest.approx(add + multiply)
    assert table.precision("int8").at("low") == (0.03, 0.23)


@pytest.mark.parametrize(
    ("size", "cost"),
    [
        (0, 0),
        (4096, 5),
        (8192, 10),
        (20480, 15),
        (32768, 20),
        (540672, 60),
        (2**20, 100),
        (2**30, 100),
    ],
)
def test_sram_is_interpolated(size: int, cost: float) -> None:
    assert hardware("45nm").memory.sram(size) == pytest.approx(cost)


def test_width_of_an_access() -> None:
    memory = hardware("45nm").memory
    assert memory.per_bit(8192) == pytest.approx(10 / 64)
    assert memory.per_bit(8192, "high") == pytest.approx(10 / 32)
    assert memory.per_bit(8192, "low") == pytest.approx(10 / 64)


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="45nm"):
        hardware("45mn")
    with pytest.raises(UnknownNameError, match="fp32"):
        hardware("45nm").precision("fp23")


def test_a_table_of_another_schema_is_refused() -> None:
    with pytest.raises(ConfigError, match="schema 1"):
        from_dict({"schema": 9})
