"""Integer convolutions on the CPU: against int64 sums, strides, padding, states, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.library import opcheck

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import explain, use
from synfire.kernels.integer_conv import (
    integer_conv2d,
    integer_conv2d_fire,
    integer_conv2d_fire_op,
    integer_conv2d_op,
)
from tests.kernels.integer_cases import (
    CONVOLUTIONS,
    NEURONS,
    draw_counts,
    draw_thresholds,
    draw_weight,
    fire_by_hand,
    wide,
)


def by_hand(counts, weight, stride, padding):
    """int64, one place of the output after the other."""
    framed = np.pad(wide(counts), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    w, kernel = wide(weight), weight.shape[1]
    height, width = ((n - kernel) // stride + 1 for n in framed.shape[1:3])
    out = np.zeros((counts.shape[0], height, width, weight.shape[0]), np.int64)
    for y in range(height):
        for x in range(width):
            seen = framed[:, y * stride :, x * stride :][:, :kernel, :kernel]
            out[:, y, x] = np.tensordot(seen, w, ([1, 2, 3], [1, 2, 3]))
    return out


@pytest.fixture(params=["float32", "reference"])
def path(request):
    with use(request.param):
        yield request.param


@pytest.mark.parametrize("levels", [4, 255])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_equals_int64(path, case, levels):
    b, h, w, c, o, kernel, stride, padding = case
    counts, weight = draw_counts(b, h, w, c, levels=levels), draw_weight(o, kernel, kernel, c)
    bias = torch.randint(-(2**20), 2**20, (o,), dtype=torch.int32)
    options = {"stride": stride, "padding": padding, "count_levels": levels}
    expected = by_hand(counts, weight, stride, padding)
    sums = integer_conv2d(counts, weight, **options)
    assert sums.dtype == torch.int32 and sums.shape == expected.shape
    assert (wide(sums) == expected).all()
    assert (wide(integer_conv2d(counts, weight, bias, **options)) == expected + wide(bias)).all()


def test_equals_torch():
    counts, weight = draw_counts(2, 6, 8, 5), draw_weight(3, 3, 3, 5)
    expected = torch.nn.functional.conv2d(
        counts.permute(0, 3, 1, 2).double(), weight.permute(0, 3, 1, 2).double(), padding=1
    )
    assert torch.equal(
        integer_conv2d(counts, weight, padding=1), expected.permute(0, 2, 3, 1).int()
    )


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("timesteps", [1, 3])
def test_fused_neuron_equals_the_definition(path, name, timesteps):
    neuron = NEURONS[name]
    counts, weight = draw_counts(timesteps * 2, 4, 5, 3), draw_weight(6, 3, 3, 3)
    bias = torch.randint(-300, 300, (6,), dtype=torch.int32)
    v = torch.randint(-500, 500, (2, 2, 3, 6), dtype=torch.int32)
    sums = by_hand(counts, weight, 2, 1) + wide(bias)
    for threshold in (draw_thresholds(6, 27), 128, 333):
        out, last = integer_conv2d_fire(
            counts, weight, threshold, neuron, bias=bias, stride=2, padding=1, v=v,
            timesteps=timesteps, keep_state=True,
        )  # fmt: skip
        theta = wide(threshold) if isinstance(threshold, torch.Tensor) else threshold
        s, membrane = fire_by_hand(sums.reshape(timesteps, *v.shape), wide(v), theta, neuron)
        assert (wide(out).reshape(s.shape) == s).all() and (wide(last) == membrane).all()
    assert integer_conv2d_fire(counts, weight, 5, neuron, timesteps=timesteps)[1] is None


def test_layouts_do_not_matter(path):
    counts = draw_counts(2, 5, 6, 7).permute(0, 2, 3, 1)
    weight = draw_weight(4, 5, 3, 3).permute(0, 2, 3, 1)
    assert (wide(integer_conv2d(counts, weight)) == by_hand(counts, weight, 1, 0)).all()


def test_opcheck():
    counts, weight = draw_counts(4, 4, 4, 3), draw_weight(2, 3, 3, 3)
    bias = torch.ones(2, dtype=torch.int32)
    results = opcheck(integer_conv2d_op, (counts, weight, bias, 1, 1, 4))
    assert set(results.values()) == {"SUCCESS"}
    v, theta = torch.ones(2, 2, 2, 2, dtype=torch.int32), torch.full((2,), 7, dtype=torch.int32)
    for keep in (False, True):
        shared = (2, 4, 99, 4, "half_up", "soft", 5, keep)
        for given in ((None, None, 8, None, 1, 0), (bias, theta, 0, v, 2, 1)):
            results = opcheck(integer_conv2d_fire_op, (counts, weight, *given, *shared))
            assert set(results.values()) == {"SUCCESS"}


def test_refusals():
    counts, weight = draw_counts(2, 4, 4, 3), draw_weight(2, 3, 3, 3)
    with pytest.raises(InputError, match="no gradient"):
        integer_conv2d(counts.float().requires_grad_(), weight)
    for wrong in (draw_weight(2, 3, 3, 4), draw_weight(2, 3, 1, 3), draw_weight(2, 3)):
        with pytest.raises(InputError, match="channels last"):
            integer_conv2d(counts, wrong)
    with pytest.raises(ConfigError, match="stride"):
        integer_conv2d(counts, weight, stride=0)
    with pytest.raises(InputError, match="nothing"):
        integer_conv2d(counts, draw_weight(2, 5, 5, 3))
    with pytest.raises(InputError, match="membrane"):
        integer_conv2d_fire(counts, weight, 3, NEURONS["floor"], v=torch.zeros(2, 4, 4, 2).int())
    with pytest.raises(InputError, match="timesteps"):
        integer_conv2d_fire(counts, weight, 3, NEURONS["floor"], timesteps=3)


def test_choice():
    given = {"stride": 1, "padding": 1, "count_levels": 4}
    counts, weight = draw_counts(2, 4, 4, 3), draw_weight(2, 3, 3, 3)
    assert explain("integer_conv2d", (counts, weight), **given).path == "float32"
