"""One HTML file that says what a run found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from synfire.core.files import write_text
from synfire.core.optional import require
from synfire.report.schema import Results, check
from synfire.report.views import facts, sections, tiles

NAME = "report.html"


def write_report(folder: Path | str, results: Mapping[str, Any]) -> Path:
    """Write ``report.html`` into ``folder``: self-contained, readable on a phone, dark and light.

    Args:
        folder: made if it is not there; an older report in it is replaced.
        results: sections as :mod:`synfire.report.schema` describes them; those that are missing are
            left out of the page.

    Returns:
        The path of the page.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(folder, {"accuracy": {"correct": 357, "total": 360}}).name
        'report.html'
    """
    return write_text(Path(folder) / NAME, render(results))


def glue(text: str) -> str:
    """Numbers stay on the line of their units."""
    return re.sub(r"(?<=\d) (?=(?:%|[kMGT]|[pnµm]?J)(?:\W|$))", "\u00a0", text)


def render(results: Mapping[str, Any]) -> str:
    """The page as text."""
    check(results)
    jinja = require("jinja2", "train")
    template = files("synfire.report") / "templates" / "report.html.j2"
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )
    environment.filters["glue"] = glue
    checked = cast(Results, results)
    run = checked.get("run")
    page: str = environment.from_string(template.read_text(encoding="utf-8")).render(
        title=run["title"] if run else "Report",
        subtitle=run.get("subtitle", "") if run else "",
        facts=facts(run) if run else [],
        tiles=tiles(checked),
        sections=sections(checked),
    )
    return page
