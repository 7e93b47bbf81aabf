import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import CheckpointError, ConfigError, InputError, RunExistsError
from synfire.datasets import load_dataset
from synfire.training import evaluate, fit, load_trained
from synfire.training.classification import Classification
from tests.training.tiny import tiny_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "tiny"
    fit(tiny_recipe("--train.watch=test", "--train.epochs=2"), folder, progress=False)
    return folder


def test_a_run_leaves_everything_that_is_needed(trained: Path) -> None:
    recipe, result = load_trained(trained)
    assert recipe == tiny_recipe("--train.watch=test", "--train.epochs=2")
    assert [record["epoch"] for record in result.history] == [1.0, 2.0]
    last = result.history[-1]
    assert last["operations"] > 0
    test = load_dataset("digits", limit=96).test
    assert last["test_accuracy"] == evaluate(result.net, test).accuracy
    assert list((trained / "logs").glob("events*"))
    assert json.loads((trained / "finished.json").read_text())["epochs"] == 2


def test_training_learns(tmp_path: Path) -> None:
    words = ("--augment.shift=0", "--augment.rotate=0", "--augment.scale=0")
    recipe = tiny_recipe(*words, "--train.epochs=20", "--train.batch_size=16")
    result = fit(recipe, tmp_path, progress=False)
    assert result.history[-1]["train_accuracy"] > 0.5 > result.history[0]["train_accuracy"]
    assert not result.net.training


def test_a_finished_run_is_refused_without_overwrite(trained: Path) -> None:
    before = (trained / "model" / "model.safetensors").read_bytes()
    with pytest.raises(RunExistsError, match="holds a finished run"):
        fit(tiny_recipe("--train.epochs=1"), trained, progress=False)
    with pytest.raises(ConfigError, match="levels"):
        fit(tiny_recipe("--model.levels=0"), trained, overwrite=True, progress=False)
    assert (trained / "model" / "model.safetensors").read_bytes() == before
    assert (trained / "finished.json").is_file()


def test_overwrite_begins_anew(tmp_path: Path) -> None:
    recipe = tiny_recipe("--train.epochs=1")
    one = fit(recipe, tmp_path, progress=False)
    again = fit(recipe, tmp_path, overwrite=True, progress=False)
    assert one.history == again.history
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.net.state_dict().values(), again.net.state_dict().values(), strict=True)
    )


def test_sigkill_at_several_moments_ends_in_the_same_weights(tmp_path: Path) -> None:
    script = Path(__file__).with_name("interrupted.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["-9", "-9", "-9", "-9", "0", "0"]
    interrupted, straight = tmp_path / "interrupted", tmp_path / "straight"
    weights = (f"{name}/model.safetensors" for name in ("model", "model-average"))
    for name in (*weights, "history.json"):
        assert (interrupted / name).read_bytes() == (straight / name).read_bytes()


def test_another_recipe_does_not_go_on_with_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Classification, "training_step", _failing_in_second_epoch())
        with pytest.raises(KeyError):
            fit(tiny_recipe(), tmp_path, progress=False)
    with pytest.raises(RunExistsError, match=r"other values of model.levels, train.epochs: "):
        fit(tiny_recipe("--model.levels=2", "--train.epochs=2"), tmp_path, progress=False)
    assert len(fit(tiny_recipe(), tmp_path, progress=False).history) == 3


def _failing_in_second_epoch():  # type: ignore[no-untyped-def]
    train = Classification.training_step

    def training_step(self: Classification, batch: object, index: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise KeyError("a bug")
        return train(self, batch, index)

    return training_step


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "text"])
def test_a_damaged_checkpoint_is_one_clear_error(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Classification, "training_step", _failing_in_second_epoch())
        with pytest.raises(KeyError):
            fit(tiny_recipe(), tmp_path, progress=False)
    file = tmp_path / "last.ckpt"
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    elif damage == "foreign":
        torch.save({"weights": torch.zeros(2)}, file)
    else:
        file.write_text("not a checkpoint")
    left = file.read_bytes()
    with pytest.raises(CheckpointError, match=r"last.ckpt is (damaged|not a training checkpoint)"):
        fit(tiny_recipe(), tmp_path, progress=False)
    assert file.read_bytes() == left


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("bomb"),))  # type: ignore[return-value]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe()
    recipe.save(tmp_path / "run" / "recipe.yaml")
    torch.save({"loops": {}, "state_dict": {}, "bomb": Bomb()}, tmp_path / "run" / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last.ckpt is damaged"):
        fit(recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "bomb").exists()


def test_the_budget_lowers_operations(tmp_path: Path) -> None:
    unpressed = tiny_recipe("--train.epochs=8", "--budget.weight=0")
    free = fit(unpressed, tmp_path / "free", progress=False)
    words = ("--train.epochs=8", "--budget.weight=5")
    bound = fit(tiny_recipe(*words), tmp_path / "bound", progress=False)
    assert bound.history[-1]["operations"] < 0.8 * free.history[-1]["operations"]
    target = 0.85 * free.history[-1]["operations"]
    aimed = fit(
        tiny_recipe(*words, f"--budget.target={target}"), tmp_path / "aimed", progress=False
    )
    assert bound.history[-1]["operations"] < aimed.history[-1]["operations"] < 1.1 * target


def test_a_net_of_ones_own_and_a_net_without_neurons(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    result = fit(tiny_recipe(), tmp_path, net=net, progress=False)
    assert "operations" not in result.history[-1]
    assert not (tmp_path / "model").exists()


def test_a_net_in_eval_mode_is_trained_in_training_mode(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10)).eval()
    fit(tiny_recipe(), tmp_path, net=net, progress=False)
    assert net[1].num_batches_tracked == 9


def test_nan_ends_the_run_in_one_sentence(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(net[1].bias, float("nan"))
    with pytest.raises(InputError, match="the train loss became NaN in epoch 1"):
        fit(tiny_recipe(), tmp_path, net=net, progress=False)
    assert not (tmp_path / "last.ckpt").exists()


def test_progress_is_told_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tiny_recipe("--train.epochs=2"), tmp_path / "shown")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("shown: epoch 1/2  loss ")
    assert "operations" in lines[-1]
    assert lines[-1].endswith("s)")


def test_training_changes_no_global_random_state_of_evaluation(trained: Path) -> None:
    net = synfire.load(trained / "model")
    test = load_dataset("digits", limit=20).test
    assert torch.equal(evaluate(net, test).logits, evaluate(net, test).logits)
