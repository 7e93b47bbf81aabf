"""What became of every tensor of a released checkpoint and of the net that it was loaded into."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class LoadReport:
    """The outcome of :func:`synfire.load_released`; ``str(report)`` is a table.

    Attributes:
        layout: the released system that the names belong to.
        fits: the call that builds the model made for this checkpoint.
        source, container, others, prefixes: the file, the key that held the tensors taken, keys of containers not
            taken, and prefixes stripped from names.
        neurons: rounding, window and the like that the neurons were set to.
        loaded: name in the checkpoint to name in the net.
        copies: name in the checkpoint to the name of the equal copy that was loaded.
        unused: name in the checkpoint to why it was not needed.
        missing: name in the net to why it keeps its value.
        counters: ``num_batches_tracked`` in the net that the checkpoint lacks; they keep their value.
        casts: ``float64 to float32`` and the like to the number of tensors.
    """

    layout: str
    fits: str
    source: str
    container: str
    others: tuple[str, ...]
    prefixes: tuple[str, ...]
    neurons: dict[str, Any]
    loaded: dict[str, str]
    copies: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    counters: tuple[str, ...] = ()
    casts: dict[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every tensor of the net came from the checkpoint (counters apart)."""
        return not self.missing

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {**asdict(self), "complete": self.complete}

    def __str__(self) -> str:
        wanted = len(self.loaded) + len(self.missing) + len(self.counters)
        rows = [
            ("checkpoint", self.layout),
            ("read from", self._read_from()),
            ("fits", self.fits),
            ("neurons", ", ".join(f"{key} {value}" for key, value in self.neurons.items())),
            ("loaded", f"{len(self.loaded)} of the net's {wanted} tensors"),
        ]
        if self.copies:
            rows.append(("copies", f"{len(self.copies)} further copies, equal to those loaded"))
        if self.casts:
            rows.append(("cast", ", ".join(f"{key}: {n}" for key, n in self.casts.items())))
        if self.counters:
            rows.append(
                ("counters", f"{len(self.counters)} num_batches_tracked absent, left alone")
            )
        rows += [("missing", str(len(self.missing))), ("unused", str(len(self.unused)))]
        lines = [f"{name:<12}{value}" for name, value in rows if value]
        lines += _listing("missing, kept as they were in the net", self.missing)
        lines += _listing("unused, in the checkpoint alone", self.unused)
        return "\n".join(lines)

    def _read_from(self) -> str:
        text = self.source
        if self.container:
            text += f", {self.container!r}"
        if self.others:
            text += f" (not taken: {', '.join(self.others)})"
        if self.prefixes:
            text += f", without the prefix {', '.join(self.prefixes)}"
        return text


def _listing(title: str, reasons: dict[str, str]) -> list[str]:
    """Every name; neighbours with one reason under it."""
    lines: list[str] = []
    last = None
    for name, reason in reasons.items():
        if reason != last:
            lines.append(f"{title}: {reason}")
        lines.append(f"  {name}")
        last = reason
    return lines
