"""The registry: small and loud."""

from __future__ import annotations

import pytest

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.core.registry import Registry


@pytest.fixture
def animals():
    registry: Registry[int] = Registry("animal")
    for name, legs in (("spider", 8), ("cat", 4), ("caterpillar", 16)):
        registry.add(name, legs)
    return registry


def test_reads_like_a_mapping(animals):
    assert animals["cat"] == 4
    assert animals.get("dog") is None
    assert "cat" in animals
    assert "dog" not in animals
    assert list(animals) == ["spider", "cat", "caterpillar"]
    assert len(animals) == 3


def test_names_are_sorted_and_match_shell_patterns(animals):
    assert animals.names() == ["cat", "caterpillar", "spider"]
    assert animals.names("cat*") == ["cat", "caterpillar"]
    assert animals.names("dog*") == []


def test_duplicates_are_refused(animals):
    with pytest.raises(ConfigError, match="animal 'cat' is registered already"):
        animals.add("cat", 3)
    assert animals["cat"] == 4


def test_unknown_names_offer_the_nearest(animals):
    with pytest.raises(UnknownNameError, match="unknown animal 'spidr': did you mean spider"):
        animals["spidr"]


def test_decorator_returns_what_it_enters(animals):
    @animals.register()
    def ant():
        return 6

    @animals.register("bee")
    class Bee:
        pass

    assert animals["ant"] is ant
    assert animals["bee"] is Bee
    assert ant() == 6
