"""A recipe: all that decides a training run, as typed dataclasses that YAML or arguments fill."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.core.files import write_text
from synfire.core.optional import require
from synfire.datasets import Augmentation, Dataset, Mixing, PictureAugmentation, datasets
from synfire.training.budget import SpikeBudget
from synfire.training.distillation import Distillation
from synfire.training.optimisers import Average, Optimiser, Schedule
from synfire.training.tasks import tasks

WATCHABLE = ("none", "validation", "test")
ACTIVATIONS = ("spike", "relu")


@dataclass(frozen=True)
class Model:
    """Which net.

    Args:
        name: a registered model.
        levels: D, largest count of a timestep.
        timesteps: T, real timesteps.
        options: further options of the model, such as ``{widths: [24, 48, 72]}``.
        init_from: folder of a training or of a saved model; its weights are taken over where names
            and shapes agree.
    """

    name: str = "spiking_cnn_tiny"
    levels: int = 4
    timesteps: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    init_from: str = ""


@dataclass(frozen=True)
class Train:
    """The loop.

    Args:
        task: what is learnt: a name in :data:`synfire.training.tasks`.
        epochs: passes over the training images.
        batch_size: images of one step, over all devices.
        label_smoothing: share of the label spread over all classes.
        seed: everything random follows from it.
        watch: part that is evaluated after each epoch for the learning curve: ``none``,
            ``validation`` or ``test``. Nothing is chosen by it: the weights of the last epoch are
            the result.
        precision: of Lightning, such as ``32-true``, ``bf16-mixed`` or ``64-true``.
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        devices: how many.
        strategy: of Lightning: ``auto``, ``ddp``, ``ddp_spawn``, ``fsdp``.
        sync_batchnorm: BatchNorm statistics over all GPUs instead of one for each.
        threads: CPU threads of this process (0: as torch chooses).
        workers: processes that load data (0: the training process itself).
    """

    task: str = "classification"
    epochs: int = 20
    batch_size: int = 64
    label_smoothing: float = 0.0
    seed: int = 0
    watch: str = "none"
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    sync_batchnorm: bool = False
    threads: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        tasks[self.task]  # an unknown name is refused
        if self.epochs < 1 or self.devices < 1:
            raise ConfigError(
                "train.epochs and train.devices must be at least 1, "
                f"got {self.epochs} and {self.devices}."
            )
        if self.watch not in WATCHABLE:
            raise ConfigError(f"train.watch must be {', '.join(WATCHABLE)}, got {self.watch!r}.")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"train.label_smoothing must be in [0, 1), got {self.label_smoothing}."
            )
        if min(self.seed, self.threads, self.workers) < 0:
            raise ConfigError("train.seed, train.threads and train.workers must not be negative.")


@dataclass(frozen=True)
class Baselines:
    """Nets that ``synfire pipeline`` trains for comparison, with the same data and schedule.

    Args:
        linear: a linear classifier on the pixels.
        relu: the net of the same shape with ReLU instead of neurons.
        unbudgeted: the spiking net without a spike budget.
    """

    linear: bool = False
    relu: bool = False
    unbudgeted: bool = False


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run; each section is a dataclass of what can be set.

    ``pictures`` is for data that are photographs of any size (``imagenet``), ``augment`` for
    batches of any data.

    Example:
        >>> recipe = load_recipe("digits", ["--model.levels", "8", "--train.epochs=3"])
        >>> recipe.model.levels, recipe.train.epochs, recipe.data.split
        (8, 3, 'stratified')
    """

    name: str
    data: Dataset
    model: Model = field(default_factory=Model)
    augment: Augmentation = field(default_factory=Augmentation)
    pictures: PictureAugmentation = field(default_factory=PictureAugmentation)
    mix: Mixing = field(default_factory=Mixing)
    distillation: Distillation = field(default_factory=Distillation)
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    average: Average = field(default_factory=Average)
    train: Train = field(default_factory=Train)
    budget: SpikeBudget = field(default_factory=SpikeBudget)
    baselines: Baselines = field(default_factory=Baselines)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers; ``data`` holds the name of its dataset."""
        content = dataclasses.asdict(self)
        content["data"] = {"name": _dataset_name(self.data)} | content["data"]
        return content

    def to_yaml(self) -> str:
        """The recipe as a file that :func:`load_recipe` reads back."""
        plain = _plain(self.to_dict())
        return str(require("yaml", "train").safe_dump(plain, sort_keys=False))

    def save(self, path: Path | str) -> Path:
        """Write the recipe as YAML."""
        return write_text(path, self.to_yaml())


SECTIONS: dict[str, type[Any]] = {
    "model": Model,
    "augment": Augmentation,
    "pictures": PictureAugmentation,
    "mix": Mixing,
    "distillation": Distillation,
    "optimiser": Optimiser,
    "schedule": Schedule,
    "average": Average,
    "train": Train,
    "budget": SpikeBudget,
    "baselines": Baselines,
}


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    files = resources.files("synfire.recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or a YAML file by path, with overrides.

    Args:
        name: a shipped recipe, or the path of a YAML file.
        overrides: command-line words such as ``["--model.levels", "8", "--data.root",
            "data/mnist"]``.

    Raises:
        UnknownNameError: no such recipe; the message has the nearest names.
        ConfigError: a parameter is unknown or has a wrong type or value.
    """
    content = _read_yaml(str(name))
    content.setdefault("name", Path(name).stem)
    data = dict(content.get("data") or {})
    dataset = datasets[_override_of("--data.name", overrides) or data.pop("name", "digits")]
    content["data"] = {key: value for key, value in data.items() if key != "name"}
    words = _without("--data.name", overrides)
    parsed = _parse(content, words, dataset, str(name))
    sections = {key: _build(kind, parsed[key], key) for key, kind in SECTIONS.items()}
    return Recipe(name=parsed["name"], data=_build(dataset, parsed["data"], "data"), **sections)


def recipe_help(recipe: Recipe) -> str:
    """Every parameter that ``recipe`` has, with type, default and meaning."""
    return str(_parser(type(recipe.data)).format_help())


def _parser(dataset: type[Dataset]) -> Any:
    parser = require("jsonargparse", "train").ArgumentParser(
        prog="recipe", exit_on_error=False, add_help=False, allow_abbrev=False
    )
    parser.add_argument("--name", type=str, default="", help="name of the recipe")
    for section, kind in {"data": dataset, **SECTIONS}.items():
        parser.add_class_arguments(kind, section, sub_configs=False)
    return parser


def _parse(
    content: dict[str, Any], words: Sequence[str], dataset: type[Dataset], source: str
) -> dict[str, Any]:
    errors = require("argparse", "train").ArgumentError, TypeError, KeyError
    parser = _parser(dataset)
    try:
        base = parser.parse_object(content)
    except errors as error:
        raise ConfigError(f"recipe {source}: {_one_sentence(error)}.") from error
    try:
        parsed: dict[str, Any] = parser.parse_args(list(words), namespace=base).as_dict()
    except errors as error:
        raise ConfigError(f"{_one_sentence(error)}; --show lists every parameter.") from error
    return parsed


def _read_yaml(name: str) -> dict[str, Any]:
    yaml = require("yaml", "train")
    shipped = resources.files("synfire.recipes") / f"{name}.yaml"
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise ConfigError(f"there is no recipe file {name}.")
        text = Path(name).read_text(encoding="utf-8")
    elif shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    else:
        raise UnknownNameError("recipe", name, list_recipes())
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {name} is not valid YAML: {_one_sentence(error)}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"recipe {name} must hold sections such as model, data and train.")
    return content


Section = TypeVar("Section")


def _build(kind: type[Section], values: dict[str, Any], section: str) -> Section:
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"section {section} of the recipe: {error}.") from error


def _override_of(option: str, words: Sequence[str]) -> str | None:
    for index, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
        if word == option and index + 1 < len(words):
            return words[index + 1]
    return None


def _without(option: str, words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if not (skip or word == option or word.startswith(f"{option}=")):
            kept.append(word)
        skip = word == option
    return kept


def _dataset_name(dataset: Dataset) -> str:
    return next(name for name in datasets if datasets[name] is type(dataset))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _one_sentence(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    return re.sub(r"<class '(\w+)'>", r"\1", text).replace("Parser key ", "parameter ")
