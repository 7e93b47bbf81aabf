"""What a benchmark hands back, and its JSON: timings, targets, memory, and the machine that they hold for."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from benchmarks.harness import Timing

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("synfire", "torch", "triton", "numpy", "spikingjelly", "norse", "snntorch")
ALLOCATOR = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


@dataclass(frozen=True)
class Target:
    """One line of the table of targets.

    Attributes:
        where: the machine: ``CPU, 1 thread``, ``H100``, ...
        measure: what is measured, and against what.
        bound: what the figure must reach.
        measured: what it reached.
        unit: ``x`` (times as fast), ``% of the roof``, ``bytes an element``, ...
        at_most: the figure must not exceed the bound, instead of reaching it.
        note: what a reader must know beside the figure.
    """

    where: str
    measure: str
    bound: float
    measured: float
    unit: str = "x"
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the bound is kept; an absent figure (NaN) never is."""
        return self.measured <= self.bound if self.at_most else self.measured >= self.bound

    @property
    def bounds(self) -> str:
        """The bound in words: ``>= 65 % of the roof``."""
        return f"{'<=' if self.at_most else '>='} {self.bound:g} {self.unit}"


@dataclass(frozen=True)
class Outcome:
    """Everything that one benchmark found.

    Attributes:
        tables: title to contestant to timing.
        targets: lines of the table of targets.
        memory: title to contestant to figure; the title names the unit.
        notes: which kernels a peer ran, which peers are absent, and the like.
    """

    tables: Mapping[str, Mapping[str, Timing]]
    targets: list[Target] = field(default_factory=list)
    memory: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def as_outcome(found: Outcome | Mapping[str, Mapping[str, Timing]]) -> Outcome:
    """An outcome as it is; bare tables become one."""
    return found if isinstance(found, Outcome) else Outcome(found)


def save(
    name: str,
    found: Outcome | Mapping[str, Mapping[str, Timing]],
    folder: Path | None = None,
) -> Path:
    """Write ``results/NAME.json``: the machine and all that was found."""
    outcome, folder = as_outcome(found), RESULTS if folder is None else folder
    content = {
        "machine": machine(),
        "milliseconds": {
            title: {contestant: _row(timing) for contestant, timing in table.items()}
            for title, table in outcome.tables.items()
        },
        "memory": outcome.memory,
        "targets": [asdict(target) | {"met": target.met} for target in outcome.targets],
        "notes": outcome.notes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def _row(timing: Timing) -> dict[str, Any]:
    row = asdict(timing)
    del row["rounds"]
    return row


def read(path: Path) -> dict[str, Any]:
    """The content of one results file."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def targets_of(content: Mapping[str, Any]) -> list[Target]:
    """The targets of a results file."""
    rows = ({key: row[key] for key in row if key != "met"} for row in content.get("targets", ()))
    return [Target(**row) for row in rows]


def table_of_targets(targets: Iterable[Target]) -> str:
    """The table of targets in plain text, one line each, and a line for each note."""
    rows = list(targets)
    where, measure = (
        max([len(getattr(row, column)) for row in rows] + [len(column)]) + 2
        for column in ("where", "measure")
    )
    lines = [f"{'where':{where}}{'measure':{measure}}{'target':>22}{'measured':>11}"]
    for row in rows:
        lines.append(
            f"{row.where:{where}}{row.measure:{measure}}{row.bounds:>22}{row.measured:11.4g}"
            f"  {'met' if row.met else 'MISSED'}"
        )
        if row.note:
            lines.append(f"{'':{where}}({row.note})")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Processor, threads, GPU, versions and commit."""
    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "allocator": {name: os.environ[name] for name in ALLOCATOR if name in os.environ},
        "commit": _commit(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
        facts["cuda"] = torch.version.cuda
    return facts


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        if name == "synfire":  # a checkout that is not installed
            import synfire

            return synfire.__version__
        return "of unknown version" if find_spec(name) else "absent"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git here
        return "no repository"
    return run.stdout.strip() or "no repository"
