"""Results larger than the caches, which the compiled path writes past them: from registers, or line by line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synfire.kernels import native as room
from synfire.kernels.integrate_fire import native, plain
from tests.kernels.native_case import PLAIN, Case, assert_same

pytestmark = pytest.mark.skipif(not room.available(), reason="the extension is not compiled here")
STATES = {  # of one timestep; 8 MiB are large
    "in lines": (11, 4, 128, 128),
    "in lines, ragged channels": (240, 64, 49),
    "off lines": (105, 7, 31, 31),
    "channels last": (11 * 128 * 128, 4),
}
SHORT = {torch.float32: 1, torch.float16: 2, torch.bfloat16: 2, torch.uint8: 4}


def case_of(name, dtype=torch.float32, width=None):
    first, *rest = STATES[name]
    return Case(3, first * SHORT[width or dtype], *rest, axis=1, dtype=dtype, states=False)


def shifted(case):
    """Buffers that do not begin on a line."""
    for name in ("x", "grad"):
        given = getattr(case, name)
        room_for_more = torch.empty(given.numel() + 1, dtype=given.dtype)
        moved = room_for_more[1:].view(given.shape)
        setattr(case, name, moved.copy_(given))
    return case


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", STATES)
def test_forward_and_backward(lanes, name, dtype):
    case = case_of(name, dtype)
    assert case.x.nbytes > 8 << 20
    dynamics = replace(PLAIN, levels=2)
    forward = {"output_scale": 0.5, "record": True, "last_state": False}
    fired = case.forward(native, dynamics, **forward)
    assert_same(fired, case.forward(plain, dynamics, **forward))
    expected = case.backward(plain, dynamics)
    assert_same(case.backward(native, dynamics), expected)
    assert_same(case.backward(native, dynamics, fired.record), expected)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("name", STATES)
def test_records_with_scaled_outputs_and_other_bumps(name, reset):
    case = shifted(case_of(name))
    dynamics = replace(PLAIN, reset=reset)
    for scale in (1.0, 0.5):
        forward = {"output_scale": scale, "record": True}
        fired = case.forward(native, dynamics, **forward)
        assert_same(fired, case.forward(plain, dynamics, **forward))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", STATES)
def test_affine_and_epilogue(name, dtype):
    case = case_of(name, dtype)
    affine, epilogue = case.affine(), case.epilogue()
    fired = case.forward(native, PLAIN, affine=affine, record=True)
    assert_same(fired, case.forward(plain, PLAIN, affine=affine, record=True))
    for options in ({}, {"epilogue": epilogue}):
        expected = case.backward(plain, PLAIN, affine=affine, **options)
        assert_same(case.backward(native, PLAIN, affine=affine, **options), expected)
        recorded = case.backward(native, PLAIN, fired.record, affine=affine, **options)
        assert_same(recorded, expected)


@pytest.mark.parametrize("name", STATES)
def test_bytes(lanes, name):
    case = case_of(name, width=torch.uint8)
    dynamics = replace(PLAIN, levels=4)
    expected = case.forward(plain, dynamics, form="uint8", last_state=False)
    assert expected.out.nbytes > 8 << 20
    assert_same(case.forward(native, dynamics, form="uint8", last_state=False), expected)
    off_lines = torch.zeros(expected.out.numel() + 3, dtype=torch.uint8)[3:]
    out = off_lines.view(expected.out.shape)
    case.forward(native, dynamics, form="uint8", last_state=False, out=out)
    assert torch.equal(out, expected.out)
