"""The threads of the compiled kernels: shared by callers, absent in a forked child."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from synfire.kernels import native as room
from synfire.kernels.integrate_fire import native
from tests.kernels.native_case import PLAIN, Case

pytestmark = pytest.mark.skipif(not room.available(), reason="the extension is not compiled here")


def counts(case):
    return case.forward(native, replace(PLAIN, levels=4)).out


def test_many_callers_at_once():
    case = Case(3, 60_000)
    expected = counts(case)
    torch.set_num_threads(3)
    with ThreadPoolExecutor(4) as callers:
        for found in callers.map(lambda _: counts(case), range(40)):
            assert torch.equal(found, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    case = Case(3, 60_000)
    torch.set_num_threads(2)
    expected = counts(case)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        same = (counts(case).numpy() == expected.numpy()).all()  # torch's own threads do not fork
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("size", [1, (16 << 20) // 4, (17 << 20) // 4 + 1])
def test_large_pages_leave_a_tensor_as_it_is(size):
    new = torch.arange(size, dtype=torch.float32)
    same = room.in_large_pages(new)
    assert same is new
    assert torch.equal(same, torch.arange(size, dtype=torch.float32))
