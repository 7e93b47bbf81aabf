"""Reading checkpoints: containers, prefixes, and what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from synfire.core.checkpoint_files import read_state
from synfire.core.errors import CheckpointError

RAW, AVERAGE = {"w": torch.zeros(2)}, {"w": torch.ones(2)}


class Foreign:
    """A class that no checkpoint may bring to life."""


def _saved(folder: Path, content: Any, name: str = "a.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema"])
def test_an_average_is_preferred(tmp_path: Path, key: str) -> None:
    path = _saved(tmp_path, {"model": RAW, key: AVERAGE, "epoch": 3})
    file = read_state(path)
    assert (file.container, file.others) == (key, ("model",))
    assert torch.equal(file.tensors["w"], AVERAGE["w"])
    raw = read_state(path, average=False)
    assert (raw.container, raw.others) == ("model", (key,))
    assert torch.equal(raw.tensors["w"], RAW["w"])


def test_what_is_no_average_is_not_taken_for_one() -> None:
    file = read_state({"state_dict": RAW, "ema": None, "model_ema": {"decay": 0.9}})
    assert (file.container, file.others) == ("state_dict", ())


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone.", "_orig_mod."])
def test_prefixes_are_stripped(tmp_path: Path, prefix: str) -> None:
    save_file({f"{prefix}stem.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    file = read_state(tmp_path / "a.safetensors")
    assert list(file.tensors) == ["stem.weight"]
    assert "".join(file.prefixes) == prefix


def test_two_tensors_of_one_bare_name_are_refused() -> None:
    with pytest.raises(CheckpointError, match="two tensors named 'w'"):
        read_state({"module.w": torch.zeros(2), "w": torch.ones(2)})


@pytest.mark.parametrize("zipped", [True, False])
def test_arguments_of_a_training_script_do_no_harm(tmp_path: Path, zipped: bool) -> None:
    content = {"model": RAW, "args": argparse.Namespace(lr=0.1, widths=[1, 2])}
    path = _saved(tmp_path, content, _use_new_zipfile_serialization=zipped)
    assert list(read_state(path).tensors) == ["w"]


@pytest.mark.parametrize("zipped", [True, False])
def test_other_classes_are_not_unpickled(tmp_path: Path, zipped: bool) -> None:
    content = {"model": RAW, "args": Foreign()}
    path = _saved(tmp_path, content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"other classes \(such as .*Foreign\)"):
        read_state(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"epoch": 1}, "expected a state dict .* found epoch"),
        (torch.zeros(2), "holds a Tensor"),
        ([torch.zeros(2)], "holds a list"),
    ],
)
def test_files_without_a_state_dict_are_refused(
    tmp_path: Path, content: Any, sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        read_state(_saved(tmp_path, content))


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(100)])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_state(tmp_path / name)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pth is no file"):
        read_state(tmp_path / "absent.pth")
