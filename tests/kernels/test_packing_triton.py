"""The Triton kernels of packing in its interpreter, against the reference."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.interpreter

SHAPES = [(1,), (63,), (4097,), (5, 7), (2, 3, 130), (0,), (4, 0)]
DTYPES = [torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_to_the_reference(shape, dtype):
    from synfire.kernels.packing import reference, triton
    from tests.kernels.packing_cases import counts, spikes

    x, scale = spikes(shape, dtype), 1.0 if dtype in (torch.bool, torch.uint8) else 1 / 3
    four = counts(shape, dtype, scale)
    bits, (nibbles, _) = reference.pack_bits(x), reference.pack_counts(four, scale)
    assert torch.equal(triton.pack_bits(x), bits)
    assert torch.equal(triton.pack_counts(four, scale)[0], nibbles)
    for out in (torch.uint8, torch.float16, torch.float32):
        for name, packed in (("unpack_bits", bits), ("unpack_counts", nibbles)):
            given = (packed, shape[-1], out, 1 / 3)
            assert torch.equal(getattr(triton, name)(*given), getattr(reference, name)(*given))
    assert torch.equal(triton.popcount(bits), reference.popcount(bits))
    assert torch.equal(triton.count_nonzero(x), reference.count_nonzero(x))


def test_counts_outside_four_bits_are_clipped():
    from synfire.kernels.packing import reference, triton

    x = torch.tensor([-1.0, 15.5, 1e30, float("inf"), float("-inf"), 2.5, 3.5])
    assert torch.equal(triton.pack_counts(x, 1.0)[0], reference.pack_counts(x, 1.0)[0])
