"""Models by name: make, list, save, load; what is wrong is said in one sentence."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import synfire
from synfire.core import registry
from synfire.core.errors import CheckpointError, ConfigError, RunExistsError, UnknownNameError
from synfire.core.models import CONFIG, WEIGHTS
from synfire.encoders import Poisson

OPTIONS = {"num_classes": 3, "levels": 2, "widths": (4, 6)}


@pytest.fixture
def net():
    """A small model with weights and statistics that no new model has."""
    net = synfire.create_model("spiking_cnn_tiny", **OPTIONS)
    net(torch.randn(16, 1, 8, 8))
    return net.eval()


@pytest.fixture
def saved(net, tmp_path):
    return synfire.save(net, tmp_path / "model")


def test_lists_by_pattern():
    assert {"spiking_cnn_small", "spiking_cnn_tiny"} <= set(synfire.list_models())
    assert synfire.list_models() == sorted(synfire.list_models())
    assert synfire.list_models("*_tiny") == ["spiking_cnn_tiny"]
    assert synfire.list_models("nothing*") == []


def test_the_config_is_the_call_with_all_defaults(net):
    """So a saved model outlives a change of the defaults."""
    assert net.config["model"] == "spiking_cnn_tiny"
    assert net.config["options"] == OPTIONS | {
        "timesteps": 1,
        "in_channels": 1,
        "pooling": "stride",
        "activation": "spike",
        "encoder": None,
        "readout": "mean",
    }
    named = synfire.create_model("spiking_cnn_tiny")
    assert len(named.config["options"]["widths"]) == 3


def test_unknown_models_offer_the_nearest():
    with pytest.raises(
        UnknownNameError, match="unknown model 'spiking_cnn_tini': did you mean spiking_cnn_tiny"
    ):
        synfire.create_model("spiking_cnn_tini")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clases": 3}, "model 'spiking_cnn_tiny': .*'num_clases'"),
        ({"widths": 3}, "model 'spiking_cnn_tiny': .*not iterable"),
        ({"widths": ()}, "widths, num_classes and in_channels must be positive"),
        ({"num_classes": 0}, "must be positive"),
        ({"levels": 0}, "levels is the largest count .* got 0"),
        ({"levels": 2.0}, "levels is the largest count .* got 2.0"),
        ({"timesteps": 0}, "timesteps is the number .* got 0"),
        ({"pooling": "sum"}, "pooling must be one of stride, avg, max, got 'sum'"),
        ({"activation": "gelu"}, "activation must be spike or relu, got 'gelu'"),
        (
            {"activation": "relu", "timesteps": 2},
            "a ReLU net has no time: timesteps must be 1, got 2",
        ),
        ({"readout": "sum"}, "readout must be one of"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        synfire.create_model("spiking_cnn_tiny", **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_round_trip_is_bit_equal(net, tmp_path, dtype):
    net.to(dtype)
    if dtype == torch.float64:
        with torch.no_grad():
            net.head.weight.add_(1e-12)  # what float32 cannot hold
    again = synfire.load(synfire.save(net, tmp_path / "model"))
    assert not again.training
    for (name, mine), (other, read) in zip(
        net.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert name == other
        assert mine.dtype == read.dtype
        assert torch.equal(mine, read)
    x = torch.rand(5, 1, 9, 7, dtype=dtype)
    assert torch.equal(again(x), net(x))
    assert all(p.requires_grad for p in again.parameters())


def test_options_come_back(net, saved):
    again = synfire.load(saved)
    assert again.config["model"] == "spiking_cnn_tiny"
    twice = synfire.load(synfire.save(again, saved.parent / "again"))
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(twice(x), net(x))
    config = json.loads((saved / CONFIG).read_text())
    assert config["options"] == net.config["options"] | {"widths": [4, 6]}
    assert config["synfire"] == synfire.__version__


def test_timesteps_are_saved_as_they_are_now(net, tmp_path):
    synfire.set_timesteps(net, 3)
    again = synfire.load(synfire.save(net, tmp_path / "model"))
    assert again.timesteps == 3
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(again(x), net(x))
    assert net.config["options"]["timesteps"] == 1


def test_an_existing_folder_is_refused(net, saved):
    before = (saved / WEIGHTS).read_bytes()
    with pytest.raises(RunExistsError, match="model is not empty"):
        synfire.save(net, saved)
    assert (saved / WEIGHTS).read_bytes() == before


def test_overwrite_replaces_a_model_and_never_other_files(net, saved):
    with torch.no_grad():
        net.head.bias.fill_(7)
    synfire.save(net, saved, overwrite=True)
    assert synfire.load(saved).head.bias.tolist() == [7, 7, 7]
    (saved / "notes.txt").write_text("weeks of work")
    with pytest.raises(
        RunExistsError, match=r"holds 'notes.txt', which is no part of a saved model"
    ):
        synfire.save(net, saved, overwrite=True)
    assert (saved / "notes.txt").read_text() == "weeks of work"


def test_an_empty_folder_is_taken(net, tmp_path):
    assert synfire.load(synfire.save(net, tmp_path)).config["model"] == "spiking_cnn_tiny"


def test_a_file_in_the_way(net, tmp_path):
    (tmp_path / "model").write_text("x")
    with pytest.raises(RunExistsError, match="model is a file"):
        synfire.save(net, tmp_path / "model")


def test_what_has_no_name_is_not_saved(tmp_path):
    with pytest.raises(ConfigError, match=r"takes a model of synfire.create_model, got Linear"):
        synfire.save(nn.Linear(2, 2), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_options_that_json_cannot_hold(tmp_path):
    net = synfire.create_model("spiking_cnn_tiny", encoder=Poisson())
    with pytest.raises(
        ConfigError, match=r"cannot hold the option encoder=Poisson\(gain=1.0\).*set net.encoder"
    ):
        synfire.save(net, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"model, but it has no {name}"):
        synfire.load(saved)


def test_a_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere, but it has no config.json"):
        synfire.load(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 4, 50, -1])
def test_truncated_weights(saved, keep):
    content = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(content[:keep])
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        synfire.load(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "config.json is damaged"),
        ("[1]", "config.json is damaged"),
        ('{"model": "spiking_cnn_tiny"}', "config.json is damaged"),
        ('{"model": "spiking_cnn_tiny", "options": [1]}', "config.json is damaged"),
        ('{"model": ["a"], "options": {}}', r"config.json names no model .*unknown model"),
        (
            '{"model": "nothing", "options": {}}',
            r"config.json names no model .*unknown model 'nothing'",
        ),
        (
            '{"model": "spiking_cnn_tiny", "options": {"depth": 3}}',
            r"config.json names no model .*'depth'",
        ),
        (
            '{"model": "spiking_cnn_tiny", "options": {"levels": 0}}',
            r"config.json names no model .*got 0",
        ),
        (
            '{"model": "spiking_cnn_tiny", "options": {}}',
            r"does not fit its config.json: .*size|key",
        ),
    ],
)
def test_damaged_configs(saved, content, message):
    (saved / CONFIG).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        synfire.load(saved)


@pytest.fixture
def shipped(saved, monkeypatch):
    monkeypatch.setitem(registry.pretrained._things, "spiking_cnn_tiny/test", str(saved))
    return "test"


def test_pretrained_weights(net, shipped):
    again = synfire.create_model("spiking_cnn_tiny", pretrained=shipped)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(again(x), net(x))
    agreeing = {"levels": 2, "widths": [4, 6], "in_channels": 1}  # the last by default
    same = synfire.create_model("spiking_cnn_tiny", pretrained=shipped, **agreeing)
    assert torch.equal(same(x), net(x))


def test_pretrained_weights_fix_the_options(shipped):
    with pytest.raises(
        ConfigError, match=r"'test' of 'spiking_cnn_tiny' were trained with levels=2, got 4"
    ):
        synfire.create_model("spiking_cnn_tiny", pretrained=shipped, levels=4)


def test_unknown_weights_offer_the_nearest(shipped):
    with pytest.raises(
        UnknownNameError, match=r"unknown pretrained weights 'spiking_cnn_tiny/tset'.*tiny/test"
    ):
        synfire.create_model("spiking_cnn_tiny", pretrained="tset")
