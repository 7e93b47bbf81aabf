"""Trains in forked processes that are killed; run by test_fitting as a program of its own.

usage: python interrupted.py FOLDER

Forking after the imports and before any computation saves their time for every process.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import synfire.export.tracing
import synfire.training.checkpoints
from synfire.training import Recipe, fit
from synfire.training.classification import Classification
from tests.training.tiny import tiny_recipe

STEPS = 3
"""Steps of one epoch of the tiny recipe."""


def recipe() -> Recipe:
    average = ("--average.decay=0.9", "--average.evaluate=true", "--optimiser.name=lamb")
    return tiny_recipe(*average, "--model.timesteps=2", "--budget.weight=0.5", "--train.watch=test")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_step(step: int) -> Callable[[], None]:
    """Dies within training step ``step`` of the whole run."""

    def arm() -> None:
        train = Classification.training_step

        def training_step(self: Classification, batch: object, index: int) -> torch.Tensor:
            loss = train(self, batch, index)  # type: ignore[arg-type]
            if self.global_step == step:
                die()
            return loss

        Classification.training_step = training_step  # type: ignore[method-assign]

    return arm


def killed_while_saving() -> None:
    """Dies with half of the first checkpoint of this process written."""

    def save(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half a checkpoint")
        die()

    synfire.training.checkpoints.torch.save = save  # type: ignore[assignment]


def in_a_process(arm: Callable[[], None], folder: Path) -> int:
    """Signal that ended a training in ``folder``, or 0."""
    process = os.fork()
    if process == 0:
        arm()
        fit(recipe(), folder, progress=False)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(root: Path) -> None:
    moments = [killed_at_step(1), killed_at_step(STEPS + 2), killed_while_saving]
    moments += [killed_at_step(2 * STEPS), lambda: None]
    codes = [in_a_process(arm, root / "interrupted") for arm in moments]
    codes.append(in_a_process(lambda: None, root / "straight"))
    sys.stdout.write(" ".join(map(str, codes)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
