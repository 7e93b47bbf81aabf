"""All tests marked ``interpreter``, one process a file."""

from __future__ import annotations

import pytest

from tests.kernels.interpreter import interpreted_files, run_interpreted


@pytest.mark.parametrize("file", interpreted_files())
def test_triton_kernels_in_the_interpreter(file: str) -> None:
    pytest.importorskip("triton")
    run = run_interpreted(file)
    assert run.returncode == 0, run.stdout + run.stderr
