"""``python -m benchmarks.page``: write the figures of ``results/*.json`` into ``docs/performance.md``.

The page is prose with places for figures; a place is a pair of comments, and what stands between them is written here
and never by hand:

    <!-- figures: targets WHERE -->        the targets of a machine (``CPU``, ``H100``, ``any``), losses first
    <!-- figures: timings NAME TITLE -->   one table of milliseconds of results/NAME.json
    <!-- figures: memory NAME TITLE -->    one table of memory
    <!-- figures: machine NAME -->         what it was measured on
    <!-- end -->

``--check`` only says whether page and results agree.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.outcome import RESULTS, Target, read, targets_of
from synfire.core.errors import DataError

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
_PLACE = re.compile(r"<!-- figures: (\w+) (.+?) -->\n.*?<!-- end -->", re.DOTALL)
_ABSENT = "*Not measured yet.*"
Results = dict[str, dict[str, Any]]


def results(folder: Path = RESULTS) -> Results:
    """All results files by name."""
    return {path.stem: read(path) for path in sorted(folder.glob("*.json"))}


def rendered(page: str, found: Results) -> str:
    """``page`` with every place filled from the results."""

    def fill(place: re.Match[str]) -> str:
        kind, argument = place.groups()
        if kind not in _WRITERS:
            raise DataError(
                f"{PAGE.name} has a place for {kind!r}, expected one of {', '.join(_WRITERS)}."
            )
        text = _WRITERS[kind](argument, found)
        return f"<!-- figures: {kind} {argument} -->\n\n{text}\n\n<!-- end -->"

    return _PLACE.sub(fill, page)


def _targets(where: str, found: Results) -> str:
    rows = [
        row
        for content in found.values()
        for row in targets_of(content)
        if row.where.split(",")[0] == where
    ]
    if not rows:
        return _ABSENT
    missed = [row for row in rows if not row.met]
    lines = [f"{len(rows) - len(missed)} of {len(rows)} targets are met.", ""]
    lines += ["| where | measure | target | measured | |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(_target(row) for row in [*missed, *(r for r in rows if r.met)])])


def _target(row: Target) -> str:
    bound = f"{'at most' if row.at_most else 'at least'} {row.bound:g} {row.unit}"
    measure = f"{row.measure} ({row.note})" if row.note else row.measure
    verdict = "met" if row.met else "**missed**"
    return f"| {row.where} | {measure} | {bound} | {row.measured:.3g} | {verdict} |"


def _timings(argument: str, found: Results) -> str:
    name, _, title = argument.partition(" ")
    table = found.get(name, {}).get("milliseconds", {}).get(title)
    if table is None:
        return _ABSENT
    lines = [f"| {title} | median ms | fastest | slowest |", "| --- | --- | --- | --- |"]
    for contestant, row in table.items():
        figures = " | ".join(f"{row[key]:.3g}" for key in ("median", "fastest", "slowest"))
        lines.append(f"| {contestant} | {figures} |")
    return "\n".join(lines)


def _memory(argument: str, found: Results) -> str:
    name, _, title = argument.partition(" ")
    table = found.get(name, {}).get("memory", {}).get(title)
    if table is None:
        return _ABSENT
    lines = [f"| {title} | |", "| --- | --- |"]
    return "\n".join(lines + [f"| {who} | {figure:.3g} |" for who, figure in table.items()])


def _machine(name: str, found: Results) -> str:
    if name not in found:
        return _ABSENT
    facts = found[name]["machine"]
    versions = ", ".join(
        f"{package} {number}"
        for package, number in facts["versions"].items()
        if number != "absent" and package != "synfire"
    )
    device = (
        facts.get("gpu") or f"{facts['processor']}, {facts['threads']} of {facts['cores']} cores"
    )
    notes = "".join(
        f" {key}: {_short(str(note))}." for key, note in found[name].get("notes", {}).items()
    )
    return f"{device}; Python {facts['python']}, {versions}; commit {facts['commit']}.{notes}"


def _short(note: str) -> str:
    """A note without its lists of kernels and reasons, which the JSON file has."""
    return re.sub(r"( kernels|'triton'):? ?,? .*", r"\1", note)


_WRITERS: dict[str, Callable[[str, Results], str]] = {
    "targets": _targets,
    "timings": _timings,
    "memory": _memory,
    "machine": _machine,
}


def main() -> int:
    """Write the page, or with ``--check`` compare it."""
    page = PAGE.read_text()
    written = rendered(page, results())
    if "--check" in sys.argv[1:]:
        print("page and results agree" if page == written else "run python -m benchmarks.page")
        return int(page != written)
    PAGE.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
