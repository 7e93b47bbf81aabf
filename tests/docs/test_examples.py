"""Every Python example of the README and the guides runs, page by page, in a folder of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_examples():
    assert sum(len(blocks(page)) for page in PAGES) >= 10
    assert blocks(ROOT / "README.md")


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.stem)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "example"}
    for number, block in enumerate(blocks(page), 1):
        code = compile(block, f"{page.name}, example {number}", "exec")
        exec(code, namespace)
    assert len(namespace) > 2, "an example defines or imports something"
