"""Tasks of one's own, nets with several outputs, and weights that are taken over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import synfire
from synfire.core.errors import CheckpointError, ConfigError, UnknownNameError
from synfire.datasets import Splits, load_dataset
from synfire.training import fit, init_from, load_task, tasks
from synfire.training.classification import Classification
from synfire.training.task_module import Sums, TaskModule
from tests.training.tiny import tiny_recipe


class Brightness(TaskModule):
    """A task whose targets are no labels: the mean grey value of an image."""

    @classmethod
    def operation_meter(cls, net: nn.Module, splits: Splits) -> None:
        return None

    def objective(
        self, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Sums]:
        wrong = (self.net(images).flatten() - images.flatten(1).mean(1)).square()
        return wrong.mean(), {"loss": wrong.sum(), "error": wrong.sqrt().sum()}


def test_fit_trains_a_registered_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "tests.training.test_tasks:Brightness"
    monkeypatch.setitem(tasks._things, "brightness", path)
    recipe = tiny_recipe("--train.task=brightness", "--train.watch=test", "--train.epochs=4")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    history = fit(recipe, tmp_path, net=net, progress=False).history
    assert history[-1]["test_error"] < history[0]["test_error"]
    assert "test_accuracy" not in history[-1]
    assert (tmp_path / "finished.json").is_file()


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean classification"):
        tiny_recipe("--train.task=clasification")
    assert load_task("classification") is Classification


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(64, 10) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = tuple(head(x.flatten(1)) for head in self.heads)
        return outputs if self.training else torch.stack(outputs).mean(0)


class Weighted(TwoHeads):
    def training_loss(
        self, outputs: tuple[Tensor, ...], labels: Tensor, smoothing: float
    ) -> Tensor:
        first, last = (F.cross_entropy(o, labels, label_smoothing=smoothing) for o in outputs)
        return 0.5 * first + 2 * last


@pytest.mark.parametrize(("kind", "weights"), [(TwoHeads, (0.5, 0.5)), (Weighted, (0.5, 2.0))])
def test_a_net_with_several_outputs(kind: type[TwoHeads], weights: tuple[float, float]) -> None:
    torch.manual_seed(0)
    net, (x, labels) = kind(), (torch.rand(6, 1, 8, 8), torch.arange(6))
    module = Classification(net, tiny_recipe("--train.label_smoothing=0.1"), None, 1)
    loss, sums = module.objective(x, labels, torch.Generator())
    several = [F.cross_entropy(o, labels, label_smoothing=0.1) for o in net(x)]
    torch.testing.assert_close(loss, sum(w * s for w, s in zip(weights, several, strict=True)))
    assert sums["accuracy"] == (net(x)[-1].argmax(1) == labels).sum()
    with pytest.raises(ConfigError, match="one tensor of logits"):
        module.assess(x, labels, torch.Generator())
    net.eval()
    assert module.assess(x, labels, torch.Generator())["loss"].shape == ()


def test_targets_other_than_labels_reach_the_task() -> None:
    from synfire.training.sampling import BatchView

    images = load_dataset("digits", limit=20).test
    view = BatchView(images)
    assert torch.equal(view[torch.tensor([3, 1])][1], images.labels[[3, 1]])


def test_weights_are_taken_over_where_they_fit(tmp_path: Path) -> None:
    options = {"num_classes": 7, "levels": 4, "timesteps": 1, "in_channels": 1}
    source = synfire.create_model("spiking_cnn_tiny", widths=(4, 8), **options)
    synfire.save(source, tmp_path / "source")
    recipe = tiny_recipe(f"--model.init_from={tmp_path / 'source'}", "--train.epochs=1")
    net = synfire.training.build_net(recipe, recipe.data.load())
    own, given = net.state_dict(), source.state_dict()
    fitting = {name for name in own if own[name].shape == given[name].shape}
    assert set(own) - fitting == {"head.weight", "head.bias"}
    assert all(torch.equal(own[name], given[name]) for name in fitting)
    fit(recipe, tmp_path / "run", progress=False)
    said = init_from(net, tmp_path / "run")
    assert not said.differing
    assert set(said.taken) == set(own)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no saved model"):
        init_from(nn.Linear(2, 2), tmp_path)
    synfire.save(synfire.create_model("spiking_cnn_tiny"), tmp_path / "model")
    with pytest.raises(ConfigError, match="tensors fits the net"):
        init_from(nn.Linear(2, 2), tmp_path)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        init_from(nn.Linear(2, 2), tmp_path)
