from __future__ import annotations

import pytest

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.report.schema import check
from tests.report.made_up import results


def test_the_example_is_valid() -> None:
    check(results())


def test_unknown_sections_offer_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean accuracy"):
        check({"acuracy": {}})


def test_missing_keys_are_named() -> None:
    with pytest.raises(ConfigError, match="'accuracy' needs total; it holds correct"):
        check({"accuracy": {"correct": 3}})
    with pytest.raises(ConfigError, match="'files' needs what"):
        check({"files": [{"path": "a"}]})
