"""What a wheel holds, with and without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT, build_wheel, environment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]
SOURCES_OF_THE_EXTENSION = {".cpp", ".h"}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def files_of_the_package() -> set[str]:
    """Files below synfire/ that are not made by building or running it."""
    found = set()
    for path in (ROOT / "synfire").rglob("*"):
        made = path.suffix in {".so", ".pyc"} or any(part.startswith(".") for part in path.parts)
        if path.is_file() and not made:
            found.add(path.relative_to(ROOT).as_posix())
    return found


def test_wheel_holds_every_file_but_the_cpp(wheel):
    expected = {n for n in files_of_the_package() if Path(n).suffix not in SOURCES_OF_THE_EXTENSION}
    compiled = {name for name in names(wheel) if name.endswith((".so", ".pyd"))}
    assert names(wheel) - compiled == expected
    for example in ("py.typed", "recipes/digits.yaml", "energy/hardware/45nm.json"):
        assert f"synfire/{example}" in expected


def test_wheel_is_compiled_where_a_compiler_is(wheel):
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no C++ compiler here")
    (extension,) = (name for name in names(wheel) if name.endswith((".so", ".pyd")))
    assert extension.startswith("synfire/kernels/native/_native.")
    assert ("abi3" in extension) == ("abi3" in wheel.name)


COMPILED_ALONE = """
import importlib.util, sys
import numpy as np
folder, = importlib.util.find_spec("synfire").submodule_search_locations
sys.path.insert(0, folder + "/kernels/native")
import _native
dynamics = _native.Dynamics(
    4, "half_up", "soft", 0, True, 1, False, 0, "rectangle", 1, 1, True, "count"
)
x, one = np.array([[0.4, 0.5, 9.0]], np.float32), np.ones(1, np.float32)
counts, v = np.empty_like(x), np.empty(3, np.float32)
at, none = lambda array: array.ctypes.data, (0, 1, 1)
_native.integrate_fire_forward(
    dynamics, 1, 3, "float32", at(x), 0, 0, (at(one), 1, 1), (at(one), 1, 1), none, none, 1.0,
    "float", at(counts), 0, at(v), 0, 1
)
assert counts.tolist() == [[0, 1, 4]], counts
assert v.tolist() == [np.float32(0.4), -0.5, 5], v
"""


def test_compiled_kernels_need_numpy_alone(wheel, bare_python, tmp_path):
    if "none-any" in wheel.name:
        pytest.skip("this wheel has no compiled kernels")
    subprocess.run([bare_python, "-c", COMPILED_ALONE], check=True, cwd=tmp_path)


WITHOUT_KERNELS = """
import warnings
import torch, synfire
from synfire.kernels import native
from synfire.neurons import IntegerLIF
assert not native.available()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    x = torch.tensor([-1.0, 0.6, 9.0], requires_grad=True)
    for _ in range(2):
        y = IntegerLIF(levels=4, normalize=False)(x)
y.sum().backward()
assert y.tolist() == [0, 1, 4] and x.grad.tolist() == [0, 1, 0]
assert [w.category.__name__ for w in caught] == ["SlowPathWarning"], caught
print(synfire.__file__)
"""


def test_without_a_compiler_the_wheel_is_pure_and_works(tmp_path):
    wheel = build_wheel(tmp_path, CC="/bin/false", CXX="/bin/false")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in names(wheel) if name.endswith((".so", ".pyd"))]
    python = environment(tmp_path / "env", wheel, (), sys.executable)
    (site,) = (tmp_path / "env").glob("lib/python3*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")  # torch and the rest
    run = subprocess.run(
        [python, "-c", WITHOUT_KERNELS],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert Path(run.stdout.strip()).is_relative_to(tmp_path)
