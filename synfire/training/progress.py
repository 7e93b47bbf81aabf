"""What a running training says: a bar on a terminal, a line every few epochs elsewhere."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from synfire.training.task_module import TaskModule

LINES = 10
"""Lines that a whole run writes where there is no terminal."""


class ShowProgress(Callback):
    """Shows step, epoch, loss and accuracy of the running training."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        self.task: Any = None
        self.began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.perf_counter()
        steps = int(trainer.estimated_stepping_batches)
        if trainer.current_epoch:
            self.console.print(f"{self.title}: goes on after epoch {trainer.current_epoch}")
        if trainer.is_global_zero and self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
            self.bar = Progress(
                *columns, TimeRemainingColumn(), console=self.console, transient=True
            )
            self.task = self.bar.add_task(self.title, total=steps, completed=trainer.global_step)
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The record of an epoch is complete only after the callbacks of its end.
        assert isinstance(pl_module, TaskModule)
        if trainer.is_global_zero and pl_module.history:
            self._say(pl_module.history[-1], trainer.max_epochs or 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        self.close()
        if trainer.is_global_zero and pl_module.history:
            seconds = time.perf_counter() - self.began
            line = describe(pl_module.history[-1], trainer.max_epochs or 1)
            self.console.print(
                f"{self.title}: {line}  ({seconds:.0f} s)", highlight=False, soft_wrap=True
            )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _say(self, record: dict[str, float], epochs: int) -> None:
        line = describe(record, epochs)
        if self.bar is not None:
            self.bar.update(self.task, description=f"{self.title}: {line}")
        elif int(record["epoch"]) % max(1, epochs // LINES) == 0:
            self.console.print(f"{self.title}: {line}", highlight=False, soft_wrap=True)


def describe(record: dict[str, float], epochs: int) -> str:
    """One epoch in a few words."""
    words = [f"epoch {int(record['epoch'])}/{epochs}", f"loss {record['train_loss']:.3f}"]
    for part in ("train", "validation", "test"):
        for key, value in record.items():
            kind = key.removeprefix(f"{part}_")
            if key == f"{part}_accuracy":
                words.append(f"{part} {value:.2%}")
            elif kind not in (key, "loss"):
                words.append(f"{part} {kind} {value:.4g}")
    if "operations" in record:
        words.append(f"{record['operations'] / 1e3:.1f}k operations")
    return "  ".join(words)
