"""Wheels, and environments that hold little."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED_BY_GRAPHS = ("numpy", "safetensors")


def pip(*arguments: str | Path, **variables: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, env=os.environ | variables)


def build_wheel(folder: Path, **variables: str) -> Path:
    """A wheel of the source tree, built in this environment."""
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT, **variables)
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(folder: Path, wheel: Path, lend: Sequence[str], python: str) -> Path:
    """The Python of a fresh environment with ``wheel`` and the packages of ``lend``, nothing else.

    They are lent by this environment, as links; where ``python`` is another, they are installed.
    """
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    executable = folder / "bin" / "python"
    if python == sys.executable:
        (site,) = folder.glob("lib/python3*/site-packages")
        own = Path(sysconfig.get_paths()["platlib"])
        for name in lend:
            for package in (own / name, own / f"{name}.libs"):
                if package.exists():
                    (site / package.name).symlink_to(package)
    else:
        pip("--python", executable, "install", *lend)
    pip("--python", executable, "install", "--no-deps", wheel)
    return executable


@pytest.fixture(scope="session")
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of ``--wheel``, else one built from the source tree."""
    given = request.config.getoption("--wheel")
    return given.resolve() if given else build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheel_python(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--wheel-python") or sys.executable


@pytest.fixture(scope="session")
def bare_python(wheel: Path, wheel_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has numpy, safetensors and the wheel: no torch."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    return environment(folder, wheel, NEEDED_BY_GRAPHS, wheel_python)
