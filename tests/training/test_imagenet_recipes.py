"""The published recipes run as they stand on a folder that lies like ImageNet, with smaller nets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import synfire
from synfire.training import fit, init_from, list_recipes, load_recipe
from tests.photographs import make_imagenet

SMALL = {
    "e_spikeformer_base": {"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1, 1], "heads": 2},
    "e_spikeformer_large": {"widths": [8, 8, 16], "depths": [1, 1, 1, 2], "heads": 2},
}
FAMILIES = {
    "imagenet_e_spikeformer_s": "e_spikeformer_base",
    "imagenet_e_spikeformer_m": "e_spikeformer_base",
    "imagenet_e_spikeformer_l": "e_spikeformer_base",
    "imagenet_e_spikeformer_83m_finetune": "e_spikeformer_large",
    "imagenet_e_spikeformer_173m_finetune": "e_spikeformer_large",
    "imagenet_e_spikeformer_distillation": "e_spikeformer_large",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_imagenet(tmp_path_factory.mktemp("imagenet"), classes=2, train=4, val=1)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = synfire.create_model("spiking_cnn_tiny", num_classes=2, in_channels=3, widths=(4, 4))
    return synfire.save(net, tmp_path_factory.mktemp("saved") / "teacher")


def words(name: str, root: Path) -> list[str]:
    """Overrides that make it small and short; everything else is as published."""
    small = [f"--model.options.{k}={v}" for k, v in SMALL[FAMILIES[name]].items()]
    size = ["--data.size=32", "--data.resize=34", "--train.batch_size=4", "--train.epochs=1"]
    return [*small, *size, f"--data.root={root}", "--train.workers=0", "--train.threads=1"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_published_recipe_runs(name: str, root: Path, teacher: Path, tmp_path: Path) -> None:
    more = [f"--distillation.teacher={teacher}"] if name.endswith("distillation") else []
    recipe = load_recipe(name, [*words(name, root), *more, "--train.accelerator=cpu"])
    trained = fit(recipe, tmp_path / "run", progress=False)
    (record,) = trained.history
    assert record["train_loss"] == pytest.approx(0.7, abs=0.5)
    assert {"test_loss", "test_accuracy", "operations"} <= record.keys()
    assert (tmp_path / "run" / "model-average").is_dir() == bool(recipe.average.decay)


def test_every_recipe_for_imagenet_is_run_here_or_beside_its_task() -> None:
    named = {name for name in list_recipes() if name.startswith("imagenet_e_spikeformer")}
    assert named == {name for name in FAMILIES if name.startswith("imagenet_e_spikeformer")}


@pytest.mark.parametrize(
    ("name", "lr", "batch", "epochs", "warmup"),
    [
        ("imagenet_e_spikeformer_m", 6e-4, 2048, 200, 5),
        ("imagenet_e_spikeformer_83m_finetune", 6e-4, 1024, 150, 10),
        ("imagenet_e_spikeformer_distillation", 1e-3, 1568, 100, 5),
    ],
)
def test_rates_are_those_of_the_paper(
    name: str, lr: float, batch: int, epochs: int, warmup: float
) -> None:
    recipe = load_recipe(name)
    assert recipe.optimiser.rate(recipe.train.batch_size) == pytest.approx(lr * batch / 256)
    assert (recipe.train.epochs, recipe.schedule.warmup) == (epochs, warmup)
    net = torch.nn.Linear(2, 2)
    net.parameter_layers = lambda: {"weight": 0, "bias": 0}  # type: ignore[assignment]
    optimiser = recipe.optimiser.build(net, batch)
    schedule = recipe.schedule.build(optimiser, epochs, 10)
    rates = [schedule.lr_lambdas[0](step) for step in (0, 10 * warmup, 10 * epochs)]
    largest = lr * batch / 256
    expected = [1 / (10 * warmup), 1.0, 1e-6 / largest]
    assert rates == pytest.approx(expected)


def test_fine_tuning_takes_over_what_distillation_starts_from(root: Path, tmp_path: Path) -> None:
    first = load_recipe(
        "imagenet_e_spikeformer_83m_finetune",
        [*words("imagenet_e_spikeformer_83m_finetune", root), "--train.accelerator=cpu"],
    )
    fit(first, tmp_path / "first", progress=False)
    second = load_recipe(
        "imagenet_e_spikeformer_distillation", words("imagenet_e_spikeformer_distillation", root)
    )
    net = synfire.training.build_net(second, second.data.load())
    said = init_from(net, tmp_path / "first")
    assert set(said.missing) == {"head_kd.bias", "head_kd.weight"}
    assert not said.unused
    assert not said.differing
