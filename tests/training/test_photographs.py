"""Training on photographs: workers and interruptions change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from synfire.training import Recipe, fit, load_recipe
from synfire.training.classification import Classification
from tests.photographs import make_imagenet

RECIPE = """
model: {name: spiking_cnn_tiny, options: {widths: [4, 8]}}
data: {name: imagenet, size: 16, resize: 18}
pictures: {rand_augment: m9-mstd0.5-inc1, erase: 0.25}
mix: {mixup: 0.8, cutmix: 1.0}
train: {epochs: 3, batch_size: 4, accelerator: cpu, threads: 1, watch: test}
"""


def recipe(root: Path, workers: int) -> Recipe:
    file = root.parent / "photographs.yaml"
    file.write_text(RECIPE)
    return load_recipe(file, [f"--data.root={root}", f"--train.workers={workers}"])


def run(root: Path, out: Path, workers: int) -> dict[str, Tensor]:
    return fit(recipe(root, workers), out, progress=False).net.state_dict()


def test_workers_and_interruptions_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_imagenet(tmp_path / "data")
    straight = run(root, tmp_path / "straight", 0)
    with monkeypatch.context() as patched:
        train = Classification.training_step

        def training_step(self: Classification, batch: object, index: int) -> Tensor:
            if self.current_epoch == 1 and index == 1:
                raise KeyError("interrupted")
            return train(self, batch, index)  # type: ignore[arg-type]

        patched.setattr(Classification, "training_step", training_step)
        with pytest.raises(KeyError, match="interrupted"):
            run(root, tmp_path / "again", 1)
    again = run(root, tmp_path / "again", 1)
    assert all(torch.equal(straight[key], again[key]) for key in straight)
