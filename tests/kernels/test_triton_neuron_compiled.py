"""The Triton kernels of the neuron compile for a GPU, with the arithmetic of the reference and without spilling."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from synfire.kernels.integrate_fire import triton as path
from tests.kernels.compilation import compiled_instead
from tests.kernels.neuron_calls import (
    INTEGER,
    RECOMPUTED,
    RECORDABLE,
    Call,
    affine,
    channelwise,
    epilogue,
)

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted kernels are not compiled"
)
CALLS = {
    "half": Call.of(INTEGER, 4, 4096, torch.float16),
    "many timesteps": Call.of(INTEGER, 16, 4096, torch.bfloat16),
    "float": Call.of(RECORDABLE["current, decay input, hard"], 4, 4096),
    "membranes": Call.of(RECOMPUTED["triangle, 3 levels"], 4, 4096),
    "chunks, ragged": Call.of(RECOMPUTED["arctan, binary"], 20, 4097).with_states(),
}


@pytest.mark.parametrize("name", CALLS)
def test_neurons_compile_without_fused_arithmetic(name):
    call = CALLS[name]
    record = torch.zeros(2, *call.x.shape, dtype=torch.uint8) if name != "membranes" else None
    with compiled_instead() as kernels:
        call.forward(path, record="chunks" not in name)
        call.backward(path)
        call.backward(path, parameters=True)
        if record is not None and "chunks" not in name:
            call.backward(path, record)
    check(kernels, 4 if record is not None and "chunks" not in name else 3)


@pytest.mark.parametrize("inner", [1, 196, 784])
def test_fused_batchnorms_compile_without_fused_arithmetic(inner):
    call = replace(Call.of(INTEGER, 4, 64 * inner * 2, torch.bfloat16), affine=affine(64, inner))
    with compiled_instead() as kernels:
        call.forward(path, last_state=False)
        path.moments(call.x, 64, inner)
        call.backward_sums(path, channelwise(64, inner, 0, 1))
        replace(call, epilogue=epilogue(64, inner)).backward(path)
    check(kernels, 6)


def check(kernels, number):
    assert len(kernels) == number
    for kernel in kernels:
        assert "fma" not in kernel.asm["ptx"], kernel.metadata.name
        assert "local_depot" not in kernel.asm["ptx"], kernel.metadata.name
