"""The Triton form of integer spike attention equals the reference bit for bit; here in the interpreter."""

from __future__ import annotations

import pytest
import torch

from synfire.kernels.integer_attention import integer_attention
from tests.kernels.integer_cases import draw_counts

kernels = pytest.importorskip("synfire.kernels.integer_attention.triton")

pytestmark = pytest.mark.interpreter
SHAPES = [(1, 1, 1, 1, 1), (2, 2, 70, 40, 33), (1, 1, 300, 8, 130), (1, 2, 65, 130, 7), (0, 2, 4, 3, 3),
          (2, 1, 0, 3, 3), (1, 2, 4, 0, 3)]  # fmt: skip


@pytest.mark.parametrize("levels", [1, 8, 60])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_reference(shape, levels, monkeypatch):
    b, h, n, d, e = shape
    q, k, v = (draw_counts(b, h, n, size, levels=levels) for size in (d, d, e))
    expected = integer_attention(q, k, v, levels)
    assert torch.equal(kernels.attention(q, k, v, levels), expected)
    monkeypatch.setattr(kernels, "PROGRAMS", 1)  # one program a head: nothing is split
    assert torch.equal(kernels.attention(q, k, v, levels), expected)


def test_every_digit():
    """Memories at the ends of each number of digits."""
    for n, levels in ((1, 11), (127, 1), (128, 1), (50, 26), (510, 8), (511, 8), (520, 127)):
        full = torch.full((1, 1, n, 3), levels, dtype=torch.uint8)
        full[..., 1] = levels // 2
        assert torch.equal(
            kernels.attention(full[:, :, :, :2], full[..., :2], full, levels),
            integer_attention(full[:, :, :, :2], full[..., :2], full, levels),
        )
    assert [kernels.digits_of(n) for n in (127, 128, 32639, 32640, 8355711, 8355712)] == [
        1,
        2,
        2,
        3,
        3,
        4,
    ]


def test_heads_of_one_tensor():
    x = draw_counts(2, 10, 24)
    heads = x.unflatten(2, (3, 8)).transpose(1, 2)
    assert torch.equal(
        kernels.attention(heads, heads, heads, 4), integer_attention(heads, heads, heads, 4)
    )
    columns = draw_counts(1, 2, 8, 10).transpose(2, 3)
    assert torch.equal(
        kernels.attention(columns, columns, columns, 4),
        integer_attention(columns, columns, columns, 4),
    )
