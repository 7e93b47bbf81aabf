from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import synfire
from synfire.core.errors import CheckpointError, ConfigError
from synfire.datasets import MixedLabels
from synfire.training import fit
from synfire.training.classification import Classification
from synfire.training.distillation import Teacher, open_teacher
from tests.training.tiny import tiny_recipe


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.head_kd = nn.Linear(64, 10), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = x.flatten(1)
        both = self.head(x), self.head_kd(x)
        return both if self.training else (both[0] + both[1]) / 2


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    net = synfire.create_model("spiking_cnn_tiny", num_classes=10, in_channels=1, widths=(4, 4))
    net(torch.rand(8, 1, 8, 8))
    return synfire.save(net, tmp_path / "teacher")


def test_half_the_loss_is_the_teachers(teacher: Path) -> None:
    torch.manual_seed(0)
    net, x = Pair(), torch.rand(6, 1, 8, 8)
    words = ("--train.label_smoothing=0.1", f"--distillation.teacher={teacher}")
    module = Classification(net, tiny_recipe(*words), None, 1)
    said = synfire.load(teacher)(x).argmax(1)
    first, second = torch.arange(6), torch.arange(6).flip(0)
    loss, _ = module.objective(x, MixedLabels(first, second, 0.7), torch.Generator())
    head, distilled = net(x)
    soft = 0.7 * F.one_hot(first, 10) + 0.3 * F.one_hot(second, 10)
    own = F.cross_entropy(head, soft, label_smoothing=0.1)
    torch.testing.assert_close(loss, 0.5 * own + 0.5 * F.cross_entropy(distilled, said))
    assert not [key for key in module.state_dict() if not key.startswith("net.")]


def test_teachers_of_every_kind_answer_alike(teacher: Path, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    x = torch.rand(5, 1, 8, 8)
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    assert torch.equal(Teacher(tmp_path / "net.pt2").labels(x[:3]), net(x[:3]).argmax(1))
    assert torch.equal(Teacher(teacher).labels(x), synfire.load(teacher)(x).argmax(1))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_teacher(tmp_path: Path) -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), torch.rand(5, 1, 8, 8)
    torch.jit.trace(net, x).save(str(tmp_path / "net.pt"))
    assert torch.equal(Teacher(tmp_path / "net.pt").labels(x), net(x).argmax(1))


def test_a_recipe_distils(teacher: Path, tmp_path: Path) -> None:
    words = (f"--distillation.teacher={teacher}", "--mix.mixup=0.5", "--mix.cutmix=1")
    out = tmp_path / "run"
    history = fit(
        tiny_recipe(*words, "--train.watch=test"), out, net=Pair(), progress=False
    ).history
    assert history[-1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_mistakes_are_named(teacher: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(f"--distillation.teacher={teacher}", "--train.epochs=1")
    with pytest.raises(ConfigError, match="two logits in training"):
        fit(recipe, tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match="no such file or folder"):
        open_teacher(tmp_path / "absent.pt2")
    for name in ("damaged.pt2", "damaged.pt"):
        (tmp_path / name).write_bytes(b"x" * 100)
        with pytest.raises(CheckpointError, match="cannot be read"):
            open_teacher(tmp_path / name)
    (tmp_path / "net.onnx").write_bytes(b"x")
    with pytest.raises(ConfigError, match="expected a folder of a saved model"):
        open_teacher(tmp_path / "net.onnx")
