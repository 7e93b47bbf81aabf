"""Options and markers that all tests share."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of the fixture `device` (cpu, cuda)")
    parser.addoption("--wheel", type=Path, help="test this wheel instead of building one")
    parser.addoption("--wheel-python", help="a Python that the wheel of --wheel fits")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--device")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data; tests that use it carry the marker ``realdata``."""
    return Path(os.environ["SYNFIRE_DATA"])


def _why_not(marker: str) -> str | None:
    if marker == "realdata":
        folder = os.environ.get("SYNFIRE_DATA")
        if not folder:
            return "needs real data: set SYNFIRE_DATA to its folder"
        return None if Path(folder).is_dir() else f"SYNFIRE_DATA={folder} is no folder"
    if marker == "export":
        missing = [name for name in ("onnx", "onnxruntime", "nir") if find_spec(name) is None]
        return f"needs {', '.join(missing)}: pip install 'synfire[export]'" if missing else None
    if marker == "gpu":
        import torch

        return None if torch.cuda.is_available() else "needs a CUDA device"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("TRITON_INTERPRET") != "1":
        elsewhere = [item for item in items if item.get_closest_marker("interpreter")]
        items[:] = [item for item in items if item not in elsewhere]
        config.hook.pytest_deselected(items=elsewhere)
    reasons: dict[str, str | None] = {}
    for item in items:
        for marker in ("realdata", "export", "gpu"):
            if item.get_closest_marker(marker):
                if marker not in reasons:
                    reasons[marker] = _why_not(marker)
                if reasons[marker]:
                    item.add_marker(pytest.mark.skip(reason=reasons[marker]))
