"""Triton kernels on the CPU: tests marked ``interpreter`` run in a process of their own.

Triton decides when a kernel is defined whether it will be interpreted, so ``TRITON_INTERPRET=1`` must be set before
its module is imported, and one process cannot do both. A test file says ``pytestmark = pytest.mark.interpreter`` and
calls kernels with CPU tensors; an ordinary run of pytest leaves its tests out and ``test_interpreter.py`` runs the
file. By hand: ``TRITON_INTERPRET=1 pytest tests/kernels/test_NAME.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def interpreted_files() -> list[str]:
    """The test files with marked tests, relative to the repository."""
    mark = "pytest.mark." + "interpreter"
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if mark in file.read_text()]


def run_interpreted(file: str) -> subprocess.CompletedProcess[str]:
    """Run the marked tests of one file in Triton's interpreter."""
    options = ["-q", "-m", "interpreter", "--tb=short", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", file, *options],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
