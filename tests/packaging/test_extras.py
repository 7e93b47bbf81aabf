"""What an installation brings."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata, requires

UNWANTED = {"torchvision", "torchaudio"}


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_base_needs_three_packages():
    base = [line for line in requires("synfire") or () if "extra ==" not in line]
    assert sorted(map(name_of, base)) == ["numpy", "safetensors", "torch"]


def test_extras_are_those_of_the_documentation():
    expected = [
        "train",
        "vision",
        "events",
        "points",
        "export",
        "robustness",
        "cuda",
        "docs",
        "dev",
        "all",
    ]
    assert sorted(metadata("synfire").get_all("Provides-Extra") or ()) == sorted(expected)


def test_nothing_installed_here_by_an_extra_brings_torchvision_or_torchaudio():
    """Their exact pins would make an installer replace torch."""
    seen: set[str] = set()
    waiting = [name_of(line) for line in requires("synfire") or ()]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = requires(name) or []
        except PackageNotFoundError:  # an extra that this environment leaves out
            continue
        waiting += [name_of(line) for line in needs if "extra ==" not in line]
    assert {"torch", "lightning", "torchmetrics"} <= seen
    assert not UNWANTED & seen
