"""Build the wheel that fits every Python from 3.12 on, then try it in an empty environment.

``python tools/build_wheel.py [--out dist]``. The stable interface that the compiled part uses
begins with Python 3.12. Where no such Python is found, a wheel for this Python alone is built, and
the output says so. ``SYNFIRE_WHEEL_PYTHON`` names the Python to build with.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STABLE_SINCE = (3, 12)


def candidates() -> Iterator[str]:
    """Pythons that may be new enough, the most deliberate first."""
    if named := os.environ.get("SYNFIRE_WHEEL_PYTHON"):
        yield named
    yield sys.executable
    names = ["python3", *(f"python3.{minor}" for minor in range(12, 20))]
    yield from filter(None, map(shutil.which, names))
    roots = (os.environ.get("PYENV_ROOT"), Path.home() / ".pyenv")
    for root in filter(None, roots):
        yield from map(str, sorted(Path(root).glob("versions/3.*/bin/python3")))


PROBE = f"""
import ensurepip, sys, sysconfig
stable = sys.implementation.name == "cpython" and sys.version_info >= {STABLE_SINCE}
sys.exit(0 if stable and not sysconfig.get_config_var("Py_GIL_DISABLED") else 1)
"""


def fits(python: str) -> bool:
    """Whether ``python`` is a CPython new enough, with the global lock, that makes environments."""
    return subprocess.run([python, "-c", PROBE], capture_output=True, check=False).returncode == 0


def build(python: str, out: Path) -> Path:
    """Build into ``out`` with ``python`` and return the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder, "env")
        subprocess.run([python, "-m", "venv", environment], check=True)
        command = [environment / "bin" / "python", "-m", "pip", "wheel", "--quiet", "--no-deps"]
        fresh = Path(folder, "wheel")
        subprocess.run([*command, "--wheel-dir", fresh, ROOT], check=True)
        (wheel,) = fresh.glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, out / wheel.name))


def describe(wheel: Path, python: str) -> str:
    """What the wheel fits."""
    if "abi3" in wheel.name:
        return f"{wheel}: for every Python from 3.12 on, built with {python}"
    if "none-any" in wheel.name:
        return f"{wheel}: without compiled kernels, since no working C++17 compiler was found"
    return f"{wheel}: for this version of Python alone, since no Python from 3.12 on was found"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    out = parser.parse_args().out
    python = next(filter(fits, candidates()), sys.executable)
    wheel = build(python, out)
    print(describe(wheel, python), flush=True)
    test = [sys.executable, "-m", "pytest", "tests/packaging", "--wheel", wheel]
    command = [*test, "--wheel-python", python]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
