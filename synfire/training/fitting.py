"""``fit``: from a recipe to a trained net in a folder; the same call again resumes it."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from synfire.core.errors import ConfigError, RunExistsError
from synfire.core.files import FINISHED, mark_finished, refuse_finished, write_json
from synfire.core.models import create_model, load, save
from synfire.core.optional import require
from synfire.datasets import Splits
from synfire.training.initialisation import AVERAGE, MODEL, init_from, result_folder
from synfire.training.memory import keep_freed_memory
from synfire.training.recipe import Recipe, load_recipe
from synfire.training.seeding import Stream, derive_seed
from synfire.training.tasks import load_task

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

RECIPE, HISTORY = "recipe.yaml", "history.json"


@dataclass
class Trained:
    """A finished training.

    Attributes:
        net: the net with the weights of the last epoch (or their moving average, if
            ``average.evaluate`` is set), in eval mode on the CPU.
        history: one record an epoch: losses, accuracies, learning rate, synaptic operations per
            image.
        folder: where everything was written.
        seconds: of the part that ran now.
        main: whether this is the process that reports (rank 0).
    """

    net: nn.Module
    history: list[dict[str, float]]
    folder: Path
    seconds: float
    main: bool = True


def build_net(recipe: Recipe, splits: Splits, progress: bool = False) -> nn.Module:
    """The recipe's model for the recipe's data; its first weights follow from the seed.

    ``progress`` tells on stderr what became of the tensors of ``model.init_from``.
    """
    model = recipe.model
    options = load_task(recipe.train.task).model_options(recipe, splits) | model.options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(Stream.WEIGHTS, recipe.train.seed))
        net: nn.Module = create_model(model.name, **options)
    if model.init_from:
        taken = init_from(net, model.init_from)
        if progress:
            print(f"{model.init_from}: {taken}", file=sys.stderr, flush=True)  # noqa: T201
    return net


def fit(
    recipe: Recipe,
    out: Path | str,
    *,
    splits: Splits | None = None,
    net: nn.Module | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Trained:
    """Train; write ``model/``, ``history.json``, ``recipe.yaml``, ``last.ckpt``, ``logs/``.

    With a moving average of the weights there is ``model-average/`` too.

    An interrupted run goes on from its last whole epoch and ends with the weights that it would
    have had.

    Args:
        recipe: what to do.
        out: folder of the run.
        splits: data that is loaded already; by default ``recipe.data.load()``.
        net: train this net instead of the recipe's model; its weights are in ``last.ckpt`` only.
        overwrite: begin anew even if ``out`` holds a finished run.
        progress: show progress on stderr.

    Raises:
        RunExistsError: ``out`` holds a finished run.
        ConfigError: ``out`` holds an interrupted run of another recipe.
        CheckpointError: ``last.ckpt`` is damaged.

    Example:
        >>> import tempfile
        >>> from synfire.training import load_recipe
        >>> recipe = load_recipe("digits", ["--train.epochs=1", "--data.limit=64"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trained = fit(recipe, folder, progress=False)
        >>> len(trained.history)
        1
    """
    require("lightning.pytorch", "train")
    out = Path(out)
    if not overwrite:
        refuse_finished(out)
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    keep_freed_memory()
    splits = splits or recipe.data.load()
    own = net is None
    net = build_net(recipe, splits, progress) if net is None else net
    net.train()  # Lightning trains modules in the mode that it finds
    main = _prepare(recipe, out, overwrite)  # last: a mistake above leaves the folder as it was
    began = time.perf_counter()
    with _quiet():
        history, states = _run(recipe, out, splits, net, progress)
    if main:
        write_json(out / HISTORY, history)
    names = [MODEL, AVERAGE] if recipe.average.evaluate else [AVERAGE, MODEL]
    for name in names:  # the result comes last
        if name in states:
            net.load_state_dict(states[name], assign=True)  # keeps the number type that was trained
            net.eval()
            if main and own:
                save(net, out / name)
    if main:
        mark_finished(out, {"recipe": recipe.name, "epochs": len(history), **history[-1]})
    return Trained(net, history, out, time.perf_counter() - began, main)


def load_trained(folder: Path | str) -> tuple[Recipe, Trained]:
    """Read back what :func:`fit` wrote."""
    folder = Path(folder)
    if not (folder / FINISHED).is_file():
        raise ConfigError(f"{folder} holds no finished training: run synfire train first.")
    recipe = load_recipe(folder / RECIPE)
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    return recipe, Trained(load(result_folder(folder)).eval(), history, folder, 0.0)


def _prepare(recipe: Recipe, out: Path, overwrite: bool) -> bool:
    """Check the folder, record the recipe; whether this process is the one that writes."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from synfire.training.checkpoints import LAST

    if getattr(rank_zero_only, "rank", 0):
        return False
    if overwrite:
        for name in (FINISHED, LAST, RECIPE, HISTORY):
            (out / name).unlink(missing_ok=True)
        for name in ("logs", MODEL, AVERAGE):
            shutil.rmtree(out / name, ignore_errors=True)
    if (out / LAST).is_file() and (out / RECIPE).is_file():
        _refuse_other(load_recipe(out / RECIPE), recipe, out)
    recipe.save(out / RECIPE)
    return True


def _refuse_other(old: Recipe, new: Recipe, out: Path) -> None:
    differing = [
        f"{section}.{key}" if isinstance(value, dict) else section
        for section, value in new.to_dict().items()
        for key in (value if isinstance(value, dict) else [""])
        if _value(old, section, key) != _value(new, section, key)
    ]
    if differing:
        raise RunExistsError(
            f"{out} holds an interrupted run with other values of {', '.join(differing)}: "
            "repeat its command to go on, name another --out, or add --overwrite."
        )


def _value(recipe: Recipe, section: str, key: str) -> Any:
    value = recipe.to_dict()[section]
    value = value.get(key) if isinstance(value, dict) else value
    return list(value) if isinstance(value, tuple) else value


def _run(
    recipe: Recipe, out: Path, splits: Splits, net: nn.Module, progress: bool
) -> tuple[list[dict[str, float]], dict[str, dict[str, torch.Tensor]]]:
    from synfire.training.averaging import MovingAverage
    from synfire.training.checkpoints import LAST, read_checkpoint
    from synfire.training.loaders import SplitsLoaders

    trainer = build_trainer(recipe, out, progress)
    warn_of_rank_statistics(net, trainer)
    data = SplitsLoaders(recipe, splits)
    steps = data.steps_per_epoch(trainer.world_size)
    task = load_task(recipe.train.task)
    module = task(net, recipe, task.operation_meter(net, splits), steps)
    last = out / LAST
    if last.is_file():
        read_checkpoint(last)  # a damaged file is named before anything starts
    trainer.fit(module, data, ckpt_path=last if last.is_file() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    # The module of this process may be empty or of another number type: the work may have been
    # done in others. The checkpoint of the last epoch holds all of it.
    final = read_checkpoint(last)
    prefix = "net."
    weights = {k.removeprefix(prefix): v for k, v in final["state_dict"].items()}
    states = {MODEL: weights}
    if recipe.average.decay:
        states[AVERAGE] = final["callbacks"][MovingAverage.KEY]
    return final["history"], states


def build_trainer(recipe: Recipe, out: Path, progress: bool) -> Trainer:
    """Lightning's trainer as the recipe wants it, writing into ``out``."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import TensorBoardLogger

    from synfire.training.averaging import MovingAverage
    from synfire.training.checkpoints import AtomicCheckpointIO, SaveLast
    from synfire.training.progress import ShowProgress

    train = recipe.train
    callbacks: list[Any] = [SaveLast(out)]
    if recipe.average.decay:
        callbacks.append(MovingAverage(recipe.average.decay, recipe.average.evaluate))
    if progress:
        callbacks.append(ShowProgress(out.name))
    return Trainer(
        max_epochs=train.epochs,
        accelerator=train.accelerator,
        devices=train.devices,
        strategy=train.strategy,
        precision=train.precision,  # type: ignore[arg-type]
        sync_batchnorm=train.sync_batchnorm,
        gradient_clip_val=recipe.optimiser.clip or None,
        logger=TensorBoardLogger(out, name="", version="logs"),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def warn_of_rank_statistics(net: nn.Module, trainer: Trainer) -> None:
    """Warn if BatchNorm trains in several CPU processes."""
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.training]
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and trainer.world_size > 1 and norms:
        warnings.warn(
            f"BatchNorm statistics are those of each process ({trainer.world_size} on the CPU, "
            "where they cannot be synchronised): results differ from those of one process.",
            UserWarning,
            stacklevel=2,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice on workers, loggers and devices is about nothing the user can mend."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (UserWarning, FutureWarning, DeprecationWarning):
                warnings.filterwarnings("ignore", category=category, module=r"lightning\b.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
