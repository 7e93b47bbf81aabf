"""The weights in the package are what their cards say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import synfire
from synfire.backbones import spiking_cnn
from synfire.core.errors import ConfigError
from synfire.core.registry import pretrained
from synfire.datasets import load_dataset
from synfire.export import trace

FOLDERS = sorted((Path(spiking_cnn.__file__).parent / "pretrained").iterdir())


@torch.no_grad()
def right_answers(net, images, labels) -> int:
    return int((torch.cat([net(part) for part in images.split(500)]).argmax(1) == labels).sum())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_folder_is_registered_small_and_has_a_card(folder):
    model, weights = folder.name.split("__")
    net = synfire.create_model(model, pretrained=weights)
    assert f"{model}/{weights}" in pretrained and not net.training
    assert (folder / "model.safetensors").stat().st_size < 600_000
    card = (folder / "README.md").read_text()
    assert f"{sum(p.numel() for p in net.parameters()):,} parameters" in card
    for word in ("data", "recipe", "accuracy", "operations", "limits"):
        assert f"| {word} |" in card


def test_contradicting_options_are_refused():
    net = synfire.create_model("spiking_cnn_tiny", pretrained="digits", levels=4)
    assert net.head_neuron.levels == 4
    with pytest.raises(ConfigError, match="levels=4"):
        synfire.create_model("spiking_cnn_tiny", pretrained="digits", levels=8)


def test_digits():
    test = load_dataset("digits").test
    images, labels = test.batch(torch.arange(len(test))), test.labels
    net = synfire.create_model("spiking_cnn_tiny", pretrained="digits")
    assert len(test) == 360 and right_answers(net, images, labels) == 360
    report = synfire.verify(net, images, dtype=torch.float64)
    assert report.exact, str(report)


@pytest.mark.realdata
def test_mnist(data_root):
    test = load_dataset("mnist", root=str(data_root / "image" / "mnist")).test
    images, labels = test.batch(torch.arange(len(test))), test.labels
    net = synfire.create_model("spiking_cnn_small", pretrained="mnist")
    assert len(test) == 10_000 and abs(right_answers(net, images, labels) - 9958) <= 2
    graph = trace(net, images[:2])
    predicted = [graph.run(images[None, :1000], mode).argmax(-1) for mode in ("integer", "slots")]
    assert torch.equal(*predicted)
