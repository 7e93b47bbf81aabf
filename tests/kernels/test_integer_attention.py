"""Integer spike attention on the CPU: against int64, against the float operator, bounds, refusals."""

from __future__ import annotations

import pytest
import torch
from torch.library import opcheck

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import explain, use
from synfire.kernels.integer_attention import integer_attention, integer_attention_op
from synfire.layers.spike_attention import spike_attention
from tests.kernels.integer_cases import draw_counts, wide

# leading axes, N, d, e
SHAPES = [((), 1, 1, 1), ((3,), 7, 5, 4), ((2, 3), 63, 32, 48), ((1, 2, 1, 2), 100, 8, 8)]
EMPTY = [((0, 2), 4, 3, 3), ((2, 2), 0, 3, 3), ((2, 2), 4, 0, 3), ((2, 2), 4, 3, 0)]


def draw(shape, levels):
    lead, n, d, e = shape
    return [draw_counts(*lead, n, size, levels=levels) for size in (d, d, e)]


@pytest.fixture(params=["dense", "reference"])
def path(request):
    with use(request.param):
        yield request.param


@pytest.mark.parametrize("levels", [1, 4, 8, 60, 255])
@pytest.mark.parametrize("shape", [*SHAPES, *EMPTY], ids=str)
def test_equals_int64(path, shape, levels):
    if levels == 255 and shape[1] * shape[2] > 128:
        return  # beyond int32, refused below
    q, k, v = draw(shape, levels)
    out = integer_attention(q, k, v, levels)
    expected = wide(q) @ (wide(k).swapaxes(-1, -2) @ wide(v))
    assert out.dtype == torch.int32 and out.shape == expected.shape
    assert (wide(out) == expected).all()


def test_equals_the_float_operator():
    q, k, v = draw(((2, 4), 196, 32, 32), 4)
    floats = spike_attention(q.double(), k.double(), v.double(), 1.0)
    assert torch.equal(integer_attention(q, k, v, 4).double(), floats)


def test_largest_sums(path):
    n, d, levels = 20000, 12, 20
    full = torch.full((1, 1, n, d), levels, dtype=torch.uint8)
    assert (integer_attention(full, full, full, levels) == d * n * levels**3).all()
    with pytest.raises(InputError, match="int32"):
        integer_attention(full, full, full, 21)


def test_heads_of_one_tensor(path):
    x = draw_counts(2, 10, 24)
    heads = x.unflatten(2, (3, 8)).transpose(1, 2)
    assert torch.equal(
        integer_attention(heads, heads, heads, 4), integer_attention(*[heads.contiguous()] * 3, 4)
    )


def test_opcheck():
    given = (*draw(((2, 3), 5, 4, 6), 4), 4)
    assert set(opcheck(integer_attention_op, given).values()) == {"SUCCESS"}


def test_refusals():
    q, k, v = draw(((2,), 5, 4, 6), 4)
    with pytest.raises(InputError, match="no gradient"):
        integer_attention(q.float().requires_grad_(), k, v, 4)
    with pytest.raises(InputError, match=r"\[..., N, d\]"):
        integer_attention(q, k[:, 1:], v, 4)
    with pytest.raises(InputError, match=r"\[..., N, d\]"):
        integer_attention(q[0, 0], k, v, 4)
    with pytest.raises(InputError, match="declared"):
        integer_attention(q + 9, k, v, 4)
    with pytest.raises(ConfigError, match="count_levels"):
        integer_attention(q, k, v, 0)


def test_choice():
    q, k, v = draw(((2, 3), 5, 4, 6), 4)
    assert explain("integer_attention", (q, k, v), count_levels=4).path == "dense"
