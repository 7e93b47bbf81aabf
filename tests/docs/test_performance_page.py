"""The performance page says what the results files say."""

from __future__ import annotations

import pytest

from benchmarks.harness import Timing
from benchmarks.outcome import Outcome, Target, save
from benchmarks.page import PAGE, rendered, results
from synfire.core.errors import DataError


def test_page_and_results_agree():
    page = PAGE.read_text()
    assert page == rendered(page, results()), "run python -m benchmarks.page"


def place(what: str) -> str:
    return f"before\n<!-- figures: {what} -->\nwhatever stood here\n<!-- end -->\nafter\n"


def fill(what: str, folder) -> str:
    lines = rendered(place(what), results(folder)).splitlines()
    assert lines[:3] == ["before", f"<!-- figures: {what} -->", ""]
    assert lines[-3:] == ["", "<!-- end -->", "after"]
    return "\n".join(lines[3:-3])


@pytest.fixture
def folder(tmp_path):
    targets = [
        Target("H100", "speed", 2.0, 3.14159),
        Target("H100", "memory", 1.0, 1.5, "GiB", at_most=True, note="why"),
        Target("CPU, 1 thread", "speed", 2.0, 3.0),
    ]
    table = {"a title, with comma": {"ours": Timing.of([1.0, 2.0]), "theirs": Timing.of([4.0])}}
    save("some", Outcome(table, targets, {"bytes": {"ours": 0.5}}, {"peer": "absent"}), tmp_path)
    return tmp_path


def test_losses_come_first(folder):
    assert fill("targets H100", folder).splitlines() == [
        "1 of 2 targets are met.",
        "",
        "| where | measure | target | measured | |",
        "| --- | --- | --- | --- | --- |",
        "| H100 | memory (why) | at most 1 GiB | 1.5 | **missed** |",
        "| H100 | speed | at least 2 x | 3.14 | met |",
    ]
    assert "CPU, 1 thread" in fill("targets CPU", folder)


def test_tables_and_machine(folder):
    assert fill("timings some a title, with comma", folder).splitlines()[2:] == [
        "| ours | 1.5 | 1 | 2 |",
        "| theirs | 4 | 4 | 4 |",
    ]
    assert fill("memory some bytes", folder).endswith("| ours | 0.5 |")
    assert "torch" in fill("machine some", folder)
    assert fill("machine some", folder).endswith("peer: absent.")


def test_what_is_absent_is_said_so(folder):
    for what in ("timings some other", "timings none title", "memory some x", "machine none"):
        assert fill(what, folder) == "*Not measured yet.*"
    assert fill("targets H200", folder) == "*Not measured yet.*"
    with pytest.raises(DataError, match="place for 'charts'"):
        rendered(place("charts some"), {})
