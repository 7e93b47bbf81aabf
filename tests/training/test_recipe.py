from pathlib import Path

import pytest

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.datasets import Digits, ImageFolder
from synfire.training import list_recipes, load_recipe
from synfire.training.recipe import recipe_help


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_load_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    recipe.save(tmp_path / "copy.yaml")
    assert load_recipe(tmp_path / "copy.yaml") == recipe


def test_every_parameter_can_be_set_by_words(tmp_path: Path) -> None:
    words = ["--model.levels", "8", "--model.options.widths=[4]", "--optimiser.lr=1e-2"]
    recipe = load_recipe("digits", [*words, "--budget.target", "2e4", "--data.split", "writers"])
    assert recipe.model.levels == 8
    assert recipe.model.options["widths"] == [4]
    assert recipe.optimiser.lr == 0.01
    assert recipe.budget.target == 20_000
    assert recipe.data == Digits(split="writers")
    content = recipe.to_dict()
    for section, values in content.items():
        if section != "name":
            assert all(
                f"--{section}.{key}" in recipe_help(recipe) for key in values if key != "name"
            )


def test_another_dataset_brings_its_own_options() -> None:
    words = ["--data.name", "image_folder", "--data.root", "x", "--data.size", "[16, 16]"]
    recipe = load_recipe(_without_data(), words)
    assert recipe.data == ImageFolder(root="x", size=(16, 16))


def _without_data() -> Path:
    import tempfile

    path = Path(tempfile.mkdtemp()) / "bare.yaml"
    path.write_text("model: {levels: 2}\n")
    return path


def test_a_file_without_a_name_has_that_of_the_file() -> None:
    recipe = load_recipe(_without_data())
    assert (recipe.name, recipe.model.levels, recipe.data) == ("bare", 2, Digits())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.epochs", "many"], r'parameter "train.epochs": Expected a int. Got value: many'),
        (["--train.epoch", "3"], r"unrecognized arguments: --train.epoch 3"),
        (["--train.epochs", "0"], r"train.epochs and train.devices must be at least 1"),
        (["--train.watch", "all"], r"train.watch must be none, validation, test, got 'all'"),
        (["--optimiser.name", "lion"], r"optimiser.name must be adamw, sgd or lamb, got 'lion'"),
        (["--augment.rotate=-3"], r"augment.rotate must not be negative"),
        (["--train.label_smoothing", "1"], r"label_smoothing must be in \[0, 1\)"),
        (["--train.seed=-1"], r"must not be negative"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe("digits", words)
    assert "\n" not in str(caught.value)


def test_mistakes_in_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    for text, message in (
        ("modell: {levels: 2}", r"r.yaml: Option 'modell.* is not accepted"),
        ("model: {level: 2}", r"r.yaml: Group 'model' does not accept option 'level'"),
        ("- 1\n- 2", r"must hold sections"),
        ("model: {levels: [", r"is not valid YAML"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_recipe(file)
    with pytest.raises(ConfigError, match="no recipe file"):
        load_recipe(tmp_path / "other.yaml")


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown recipe 'digts': did you mean digits"):
        load_recipe("digts")
    with pytest.raises(UnknownNameError, match="unknown dataset 'mnst': did you mean mnist"):
        load_recipe("digits", ["--data.name=mnst"])
