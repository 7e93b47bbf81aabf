"""Packing: the layout by hand, every path and dtype, the way back bit for bit, refusals."""

from __future__ import annotations

import pytest
import torch
from torch.library import opcheck

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import explain, native, use
from synfire.kernels import packing as room
from synfire.kernels.packing import (
    density,
    pack_bits,
    pack_counts,
    popcount,
    unpack_bits,
    unpack_counts,
)
from tests.kernels.packing_cases import (
    DTYPES,
    SHAPES,
    WIDE,
    as_rows,
    bits_by_hand,
    counts,
    counts_by_hand,
    spikes,
)

PATHS = ["reference", "native 4", "native 8", "native 16"]


@pytest.fixture(params=PATHS)
def path(request):
    name, _, lanes = request.param.partition(" ")
    module = native._extension()[0]
    if not lanes:
        with use(name):
            yield name
        return
    if module is None or int(lanes) > module.lanes():
        pytest.skip("the extension or the processor does not have it")
    widest = module.lanes()
    module.limit_lanes(int(lanes))
    yield name
    module.limit_lanes(widest)


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits(path, shape, dtype):
    x = spikes(shape, dtype)
    packed = pack_bits(x)
    assert packed.dtype == torch.uint8
    assert as_rows(packed) == bits_by_hand(x)
    for out in DTYPES:
        back = unpack_bits(packed, shape[-1], out, 0.3)
        assert torch.equal(back, ((x != 0).float() * 0.3).to(out))
    assert int(popcount(packed)) == int((x != 0).sum())
    assert density(x) == (float((x != 0).double().mean()) if x.numel() else 0.0)


@pytest.mark.parametrize("scale", [1.0, 0.25, 1 / 3, 1 / 15])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_counts(path, shape, dtype, scale):
    x = counts(shape, dtype, scale)
    packed = pack_counts(x, scale)
    assert as_rows(packed) == counts_by_hand(x, scale)
    assert torch.equal(
        unpack_counts(packed, shape[-1], dtype, scale),
        (counts(shape, torch.float32) * scale).to(dtype),
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int32], ids=str)
def test_integer_counts(path, dtype):
    x = counts((3, 101), dtype)
    packed = pack_counts(x)
    assert as_rows(packed) == counts_by_hand(x.int(), 1)
    assert torch.equal(unpack_counts(packed, 101, dtype), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_rounding_is_to_the_nearest_and_ties_to_even(path, dtype):
    x = torch.tensor([-0.5, -0.25, 0.5, 1.5, 2.5, 3.25, 15.5 - 2**-4, 6e-8], dtype=dtype)
    expected = [0, 0, 0, 2, 2, 3, 15, 0]
    if dtype == torch.bfloat16:  # which has no number so near below 15.5
        x[6] = 15.0
    assert unpack_counts(pack_counts(x), 8, torch.uint8).tolist() == expected


OUTSIDE = [-1.0, 15.5, 16.0, 1e30, float("inf"), float("-inf"), float("nan")]


@pytest.mark.parametrize("value", OUTSIDE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("place", [0, 40, 98])
def test_counts_outside_four_bits(path, value, dtype, place):
    x = torch.zeros(99, dtype=dtype)
    x[place] = value
    with pytest.raises(InputError, match=r"0\.\.15"):
        pack_counts(x)
    packed = pack_counts(x, check=False)
    if value == value:
        clipped = unpack_counts(packed, 99, torch.float32)
        assert clipped[place] == (15 if value > 0 else 0) and clipped.sum() == clipped[place]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layouts_do_not_matter(path, dtype):
    x = spikes((2, 6, 9, 13), dtype)
    layouts = (
        x.transpose(1, 3),
        x[:, ::2],
        x.to(memory_format=torch.channels_last),
        x[..., :1].expand(2, 6, 9, 5),
    )
    for view in layouts:
        assert torch.equal(pack_bits(view), pack_bits(view.contiguous()))
        packed = pack_bits(view).transpose(0, 1)
        assert torch.equal(
            unpack_bits(packed, view.shape[-1], dtype), (view != 0).transpose(0, 1).to(dtype)
        )
        assert density(view) == density(view.contiguous())


@pytest.mark.parametrize("shape", [(700_001,), (3001, 301), (400, 2048)], ids=str)
def test_threads_change_nothing(shape):
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, 16, shape, generator=draw).float()
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        bits, four = pack_bits(x), pack_counts(x)
        back = unpack_counts(four, shape[-1])
        results.append((bits, four, unpack_bits(bits, shape[-1]), back, popcount(bits), density(x)))
        assert torch.equal(back, x)
        assert int(popcount(bits)) == int(x.count_nonzero())
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(
            torch.equal(torch.as_tensor(a), torch.as_tensor(b))
            for a, b in zip(results[0], other, strict=True)
        )


def test_opcheck():
    checks = {
        room.pack_bits_op: [(spikes(shape, torch.float32),) for shape in SHAPES],
        room.pack_counts_op: [(counts(shape, torch.float16), 1.0, True) for shape in SHAPES],
        room.unpack_bits_op: [
            (pack_bits(spikes(s, torch.bool)), s[-1], torch.float16, 0.5) for s in SHAPES
        ],
        room.unpack_counts_op: [
            (pack_counts(counts(s, torch.uint8)), s[-1], torch.bool, 1.0) for s in SHAPES
        ],
        room.popcount_op: [(pack_bits(spikes(shape, torch.bool)),) for shape in SHAPES],
        room.count_nonzero_op: [(spikes(shape, torch.float32),) for shape in SHAPES],
    }
    for op, calls in checks.items():
        for given in calls[:3] + calls[-3:]:
            utilities = ("test_schema", "test_faketensor")
            assert set(opcheck(op, given, test_utils=utilities).values()) == {"SUCCESS"}
        assert set(opcheck(op, calls[7]).values()) == {"SUCCESS"}


def test_compiles_without_a_break():
    def there_and_back(x):
        return unpack_counts(pack_counts(x), x.shape[-1]) + unpack_bits(pack_bits(x), x.shape[-1])

    x = counts((3, 21), torch.float32)
    compiled = torch.compile(there_and_back, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), x + (x != 0))


def test_bad_input_is_refused_in_a_sentence():
    x = torch.ones(3, 5, requires_grad=True)
    for pack in (pack_bits, pack_counts):
        with pytest.raises(InputError, match=r"no gradient: pass x\.detach\(\)"):
            pack(x)
        with torch.no_grad():
            pack(x)
        with pytest.raises(InputError, match="last axis"):
            pack(torch.tensor(1.0))
    for unpack, wrong in ((unpack_bits, 9), (unpack_counts, 4)):
        packed = torch.zeros(3, 1, dtype=torch.uint8)
        with pytest.raises(InputError, match="bytes in a row"):
            unpack(packed, wrong)
        with pytest.raises(InputError, match="uint8"):
            unpack(packed.float(), 1)
    with pytest.raises(InputError, match="uint8"):
        popcount(torch.ones(3))
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="positive"):
            pack_counts(torch.ones(3), scale)


def test_choice_of_path_is_visible():
    chosen = explain("pack_bits", torch.zeros(3)).path
    assert chosen == ("native" if native.available() else "reference")
    assert explain("pack_bits", torch.zeros(3, dtype=torch.float64)).path == "reference"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (300, 4099), (1 << 20,)], ids=str)
def test_cuda_equals_the_cpu(shape, dtype):
    x, four = spikes(shape, dtype), counts(shape, dtype)
    bits, nibbles = pack_bits(x), pack_counts(four)
    assert explain("pack_bits", x.cuda()).path == "triton"
    assert torch.equal(pack_bits(x.cuda()).cpu(), bits)
    assert torch.equal(pack_counts(four.cuda()).cpu(), nibbles)
    for out in DTYPES:
        n = shape[-1]
        assert torch.equal(
            unpack_bits(bits.cuda(), n, out, 1 / 3).cpu(), unpack_bits(bits, n, out, 1 / 3)
        )
        assert torch.equal(
            unpack_counts(nibbles.cuda(), n, out, 0.7).cpu(), unpack_counts(nibbles, n, out, 0.7)
        )
    assert int(popcount(bits.cuda())) == int(popcount(bits))
    assert density(x.cuda()) == density(x)


@pytest.mark.gpu
def test_more_elements_than_32_bits_count():
    n = 2**31 + 1000
    if torch.cuda.get_device_properties(0).total_memory < 16 * 2**30:
        pytest.skip("needs 16 GB")
    x = torch.zeros(n, dtype=torch.uint8, device="cuda")
    x[-3], x[5] = 7, 1
    bits, four = pack_bits(x), pack_counts(x)
    assert int(popcount(bits)) == 2
    assert bits[(n - 3) // 8] == 1 << (n - 3) % 8
    assert torch.equal(unpack_bits(bits, n, torch.uint8), (x != 0).to(torch.uint8))
    assert torch.equal(unpack_counts(four, n, torch.uint8), x)
