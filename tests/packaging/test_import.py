"""``import synfire`` is quick and leaves torch alone."""

from __future__ import annotations

import statistics
import subprocess
import sys

PROBE = """
import sys, time
start = time.perf_counter()
import synfire
elapsed = time.perf_counter() - start
dir(synfire)
assert not {"torch", "numpy", "lightning"} & set(sys.modules), "a heavy package was imported"
print(elapsed)
"""


def test_import_takes_under_a_third_of_a_second():
    runs = [
        subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True)
        for _ in range(5)
    ]
    assert statistics.median(float(run.stdout) for run in runs) < 0.3


def test_listing_verbs_needs_no_torch():
    probe = (
        "import sys; from synfire.cli import main; code = main(['--help']);"
        "sys.exit(code or int('torch' in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "train" in run.stdout
