"""The pieces that a page is made of, and how figures are written in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from synfire.report.drawing import Figure


@dataclass(frozen=True)
class Table:
    """Rows of texts; the first column names the row, and columns that are empty are left out.

    ``emphasis`` holds the indices of rows that stand out, ``words`` the headings of columns that are
    set as text and not as numbers.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    label: str
    emphasis: Sequence[int] = ()
    words: Sequence[str] = ()

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Heading and class of every column that holds anything."""
        return [(self.header[i], self._style(i)) for i in self._kept]

    @property
    def body(self) -> list[list[tuple[str, str]]]:
        """Text and class of every cell."""
        return [[(row[i], self._style(i)) for i in self._kept] for row in self.rows]

    @property
    def _kept(self) -> list[int]:
        return [i for i in range(len(self.header)) if any(row[i] for row in self.rows)]

    def _style(self, column: int) -> str:
        if self.header[column] not in self.words:
            return ""
        return "words wide" if max(len(row[column]) for row in self.rows) > 20 else "words"


@dataclass(frozen=True)
class Part:
    """A piece of a section: exactly one of its fields is set."""

    text: str = ""
    note: str = ""
    table: Table | None = None
    figure: Figure | None = None
    points: Sequence[str] = ()
    heading: str = ""


@dataclass(frozen=True)
class Section:
    """``lead`` is what to take away, in a sentence."""

    key: str
    title: str
    lead: str
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    label: str
    value: str
    detail: str


def percent(share: float, digits: int = 2) -> str:
    """Example:
    >>> percent(0.99456)
    '99.46 %'
    """
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """Example:
    >>> duration(42.4), duration(754), duration(7300)
    ('42 s', '12 min 34 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """Example:
    >>> size(812), size(123456), size(5_000_000)
    ('812 B', '121 KiB', '4.8 MiB')
    """
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.0f} KiB" if count < 2**20 else f"{count / 2**20:.1f} MiB"
