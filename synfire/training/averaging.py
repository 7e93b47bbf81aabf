"""The exponential moving average of a net's weights."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from synfire.training.task_module import TaskModule


class MovingAverage(Callback):
    """Keeps ``average <- decay * average + (1 - decay) * weights`` after every step.

    BatchNorm statistics are averaged with the weights; whole numbers are copied.

    Args:
        decay: share of the old average.
        watched: whether the part that is watched is evaluated with the average.
    """

    KEY = "moving_average"
    """Where a checkpoint keeps the average, among the states of its callbacks."""

    def __init__(self, decay: float, watched: bool) -> None:
        self.decay = decay
        self.watched = watched
        self.average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = _state(pl_module)
        start = self.average or now
        self.average = {key: start[key].detach().to(now[key], copy=True) for key in now}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = _state(pl_module)
        real = [key for key, value in now.items() if value.is_floating_point()]
        averages, values = [self.average[key] for key in real], [now[key] for key in real]
        torch._foreach_lerp_(averages, values, 1 - self.decay)
        for key in now.keys() - set(real):
            self.average[key].copy_(now[key])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.watched and self.average:
            self._raw = {key: value.clone() for key, value in _state(pl_module).items()}
            _net(pl_module).load_state_dict(self.average)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._raw:
            _net(pl_module).load_state_dict(self._raw)
            self._raw = {}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.average)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average = dict(state_dict)

    @property
    def state_key(self) -> str:
        return self.KEY


def _net(module: LightningModule) -> torch.nn.Module:
    assert isinstance(module, TaskModule)
    return module.net


def _state(module: LightningModule) -> dict[str, Tensor]:
    return _net(module).state_dict()
