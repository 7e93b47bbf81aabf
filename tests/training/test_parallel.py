from pathlib import Path

import pytest
import torch
from torch import nn

from synfire.neurons import IntegerLIF
from synfire.training import fit
from synfire.training.fitting import build_trainer, warn_of_rank_statistics
from tests.training.tiny import tiny_recipe

ONE_STEP = (
    "--data.limit=32",
    "--train.epochs=1",
    "--train.precision=64-true",
    "--optimiser.name=sgd",
    "--optimiser.lr=1.0",
    "--optimiser.momentum=0",
    "--optimiser.weight_decay=0",
    "--schedule.warmup=0",
    "--budget.weight=0.5",
    "--augment.shift=0",
    "--augment.rotate=0",
    "--augment.scale=0",
)
TWO = ("--train.devices=2", "--train.strategy=ddp_spawn")


class FrozenNorm(nn.BatchNorm2d):
    """BatchNorm that stays in eval mode."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


def small_net(norm: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm(4), IntegerLIF(levels=4))
    net = nn.Sequential(*body, nn.Conv2d(4, 6, 3), IntegerLIF(), nn.Flatten(), nn.Linear(216, 10))
    for layer in (net[0], net[3]):
        nn.init.normal_(layer.weight)  # so that both neurons fire
    return net


@pytest.mark.parametrize("norm", [FrozenNorm, nn.Identity])
def test_two_processes_have_the_gradient_of_one(norm: type[nn.Module], tmp_path: Path) -> None:
    start = small_net(norm).double()
    moved = []
    for words in ((), TWO):
        net = small_net(norm)
        fit(tiny_recipe(*ONE_STEP, *words), tmp_path / str(len(words)), net=net, progress=False)
        moved.append(dict(net.named_parameters()))
    for name, before in start.named_parameters():
        gradient, shared = (before - after[name] for after in moved)
        assert shared.dtype == moved[1][name].dtype == torch.float64
        assert gradient.abs().max() > 1e-3
        assert torch.allclose(gradient, shared, rtol=1e-10, atol=1e-12), name


def test_batchnorm_in_training_on_cpu_processes_warns(tmp_path: Path) -> None:
    trainer = build_trainer(tiny_recipe(*TWO), tmp_path, progress=False)
    with pytest.warns(UserWarning, match="BatchNorm statistics are those of each process"):
        warn_of_rank_statistics(small_net(nn.BatchNorm2d), trainer)
    warn_of_rank_statistics(small_net(FrozenNorm).train(), trainer)
