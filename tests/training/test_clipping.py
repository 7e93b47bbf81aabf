from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from synfire.training import fit
from synfire.training.clipping import clip_adaptively, clipped_parameters
from tests.training.tiny import tiny_recipe


def test_rows_are_scaled_to_a_share_of_their_weights() -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape)) for shape in ((4, 3, 2, 2), (5, 6), (7,))]
    weights.append(nn.Parameter(torch.zeros(2, 2)))
    before = []
    for weight in weights:
        weight.grad = torch.randn(weight.shape) * torch.logspace(-3, 1, len(weight)).reshape(
            -1, *[1] * (weight.ndim - 1)
        )
        before.append(weight.grad.clone())
    clip_adaptively(weights, 0.02)
    for weight, old in zip(weights, before, strict=True):
        assert weight.grad is not None
        rows = zip(
            *(t if t.ndim > 1 else t[None] for t in (weight.detach(), weight.grad, old)),
            strict=True,
        )
        for w, new, was in rows:
            bound = 0.02 * max(float(w.norm()), 1e-3)
            factor = min(1.0, bound / float(was.norm()))
            torch.testing.assert_close(new, was * factor)


def test_the_last_layer_is_spared() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))
    assert [p.shape for p in clipped_parameters(net)] == [(3, 2), (3,), (3,), (3,)]


def test_a_recipe_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = []
    monkeypatch.setattr(
        "synfire.training.task_module.clip_adaptively", lambda _, factor: factors.append(factor)
    )
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    words = ("--optimiser.adaptive_clip=0.02", "--train.epochs=1")
    fit(tiny_recipe(*words), tmp_path, net=net, progress=False)
    assert factors == [0.02] * 3
