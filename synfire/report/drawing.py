"""Figures as inline SVG that take their colours and fonts from the page, so that they follow dark and light."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from synfire.core.optional import require

INK, MUTED, LINE, ACCENT, PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
"""Stand-ins that become the page's colours."""

_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    PAPER: "var(--paper)",
}
WIDTH = 4.1
"""Inches: narrow enough that text stays readable when a phone shows the figure."""

_STYLE = {
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.labelcolor": INK,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 7.5,
    "path.simplify": False,
}


@dataclass(frozen=True)
class Figure:
    """An SVG with what it shows: ``alt`` for those who do not see it, ``caption`` for everybody."""

    name: str
    svg: str
    alt: str
    caption: str


def draw(name: str, height: float, alt: str, caption: str, paint: Callable[[Any], None]) -> Figure:
    """Let ``paint`` fill a matplotlib figure of WIDTH x ``height`` inches and turn it into inline SVG."""
    matplotlib = require("matplotlib", "train")
    figures = require("matplotlib.figure", "train")
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = figures.Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return Figure(name, _inline(file.getvalue(), name, alt), alt, caption)


def _inline(svg: str, name: str, alt: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)\)", svg)) | set(re.findall(r'href="#([\w-]+)"', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: m.group(0) if m.group(1) in used else "", svg)
    for identity in used:
        svg = re.sub(rf'(#|id="){identity}\b', rf"\g<1>{name}-{identity}", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"\n\s*", "\n", svg)
    head = re.search(r'viewBox="[^"]+"', svg)
    size = head.group(0) if head else ""
    body = svg[svg.index(">") + 1 :]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {size} '
        f'role="img" aria-label="{_escaped(alt)}">{body}'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
