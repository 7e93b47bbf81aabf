"""Names and shapes of released tensors: one JSON file a model, in a folder beside that of the real data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn


def read_manifest(data_root: Path, name: str) -> dict[str, Any]:
    """The manifest ``family/model``; the test is skipped where the folder is missing."""
    path = data_root.parent / "reference" / "state-dicts" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"needs the names and shapes of released tensors in {path}")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def shapes_of(net: nn.Module) -> dict[str, list[int]]:
    """Name to shape of every entry of the state dict, in its order."""
    return {name: list(value.shape) for name, value in net.state_dict().items()}


def blank_state(manifest: dict[str, Any], device: str = "meta") -> dict[str, torch.Tensor]:
    """A state dict with the manifest's names, shapes and types, without values."""
    return {
        name: torch.empty(
            shape,
            dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32,
            device=device,
        )
        for name, shape in manifest["tensors"].items()
    }


def count_parameters(net: nn.Module) -> int:
    """Every parameter once, however many modules share it."""
    return sum(parameter.numel() for parameter in net.parameters())
