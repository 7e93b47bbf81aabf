from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import synfire
from synfire.datasets import load_dataset
from synfire.training import evaluate, fit, load_trained
from synfire.training.classification import Classification
from tests.training.tiny import tiny_recipe

DECAY = 0.8


def test_the_average_is_that_of_the_weights_after_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    original = Classification.training_step

    def training_step(self: Classification, batch: object, index: int) -> Tensor:
        seen.append({key: value.clone() for key, value in self.net.state_dict().items()})
        return original(self, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(Classification, "training_step", training_step)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    words = (f"--average.decay={DECAY}", "--average.evaluate=true", "--train.watch=test")
    trained = fit(tiny_recipe(*words), tmp_path, net=net, progress=False)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    seen.append({key.removeprefix("net."): value for key, value in checkpoint.items()})
    expected = seen[0]
    for state in seen[1:]:
        expected = {k: DECAY * v.double() + (1 - DECAY) * state[k] for k, v in expected.items()}
    for key, value in trained.net.state_dict().items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-5, atol=1e-6)
        assert not torch.equal(value, seen[-1][key])
    test = load_dataset("digits", limit=96).test
    assert trained.history[-1]["test_accuracy"] == evaluate(trained.net, test).accuracy
    assert trained.history[-1]["test_loss"] == pytest.approx(evaluate(trained.net, test).loss)


def test_both_are_saved_and_the_recipe_chooses(tmp_path: Path) -> None:
    results = {}
    for chosen in (False, True):
        recipe = tiny_recipe(
            "--train.epochs=1", "--average.decay=0.5", f"--average.evaluate={chosen}"
        )
        out = tmp_path / str(chosen)
        trained = fit(recipe, out, progress=False)
        saved = {name: synfire.load(out / name) for name in ("model", "model-average")}
        right = saved["model-average" if chosen else "model"]
        again = load_trained(out)[1].net
        for net in (trained.net, again):
            pairs = zip(net.state_dict().values(), right.state_dict().values(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
        results[chosen] = {k: v.state_dict()["head.weight"] for k, v in saved.items()}
    assert all(torch.equal(results[False][k], results[True][k]) for k in results[True])
    assert not torch.equal(results[True]["model"], results[True]["model-average"])
