import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import ConfigError, InputError
from synfire.datasets import TensorImages, load_dataset
from synfire.encoders import Poisson
from synfire.training import evaluate


class Brightest(nn.Module):
    """Answers with the pixel that is brightest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


@pytest.fixture
def images() -> TensorImages:
    pixels = torch.eye(4, dtype=torch.uint8).reshape(4, 1, 2, 2) * 255
    return TensorImages(pixels, torch.tensor([0, 1, 2, 2]))


def test_accuracy_confusion_and_loss(images: TensorImages) -> None:
    result = evaluate(Brightest(), images, batch_size=3)
    assert result.accuracy == 0.75
    assert result.predictions.tolist() == [0, 1, 2, 3]
    assert result.confusion.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    expected = nn.functional.cross_entropy(torch.eye(4), images.labels).item()
    assert result.loss == pytest.approx(expected)
    assert result.to_dict()["images"] == 4
    assert str(result).startswith("accuracy 75.00% (3 of 4)")


def test_the_mode_of_every_module_is_restored() -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    net[1].eval()
    before = net[1].running_mean.clone()
    evaluate(net, load_dataset("digits", limit=20).test)
    assert [module.training for module in net] == [True, False, True]
    assert torch.equal(net[1].running_mean, before)


def test_stochastic_encoders_are_seeded() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    net = synfire.TimeFolded(body, timesteps=2, encoder=Poisson())
    test = load_dataset("digits", limit=30).test
    one, same, other = (evaluate(net, test, seed=seed).logits for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_nan_is_an_error(images: TensorImages) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    nn.init.constant_(net[1].weight, float("nan"))
    with pytest.raises(InputError, match="answered with NaN"):
        evaluate(net, images)


def test_labels_and_emptiness_are_checked(images: TensorImages) -> None:
    with pytest.raises(InputError, match="knows 2 classes, but a label is 2"):
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), images)
    with pytest.raises(ConfigError, match="no image to evaluate"):
        evaluate(Brightest(), images.subset(torch.tensor([], dtype=torch.long)))
