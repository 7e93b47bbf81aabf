"""``synfire convert``: released weights in, a saved model out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import synfire
from benchmarks.models.plain_e_spikeformer import plain_e_spikeformer
from synfire.cli import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    state = plain_e_spikeformer("t", num_classes=7).state_dict()
    path = tmp_path_factory.mktemp("released") / "t.pth"
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, path)
    return path


def test_the_saved_model_is_the_released_one(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["convert", str(checkpoint), "--out", str(out), "--levels", "8"]) == 0
    printed = capsys.readouterr().out
    assert "loaded      605 of the net's 605 tensors" in printed
    assert "e_spikeformer_t" in printed and str(out) in printed
    net = synfire.load(out)
    assert net.config["model"] == "e_spikeformer_t"
    assert {neuron.levels for neuron in net.modules() if hasattr(neuron, "levels")} == {8}
    released = torch.load(checkpoint, weights_only=True)["model"]
    assert torch.equal(net.head.weight, released["module.head.weight"])


def test_results_are_not_written_over(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("mine")
    assert main(["convert", str(checkpoint), "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "config.json").read_text() == "mine"
    assert main(["convert", str(checkpoint), "--out", str(tmp_path), "--overwrite"]) == 0
    assert synfire.load(tmp_path).num_classes == 7


def test_a_file_of_something_else_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    assert main(["convert", str(tmp_path / "other.pth"), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "expected released weights of one of" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
