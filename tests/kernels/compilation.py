"""Compiling Triton kernels for a GPU without having one: what would be launched is compiled and kept instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_TYPES = {
    torch.float64: "*fp64", torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16",
    torch.int64: "*i64", torch.int32: "*i32", torch.int8: "*i8", torch.uint8: "*u8",
}  # fmt: skip
_OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")


@contextmanager
def compiled_instead(capability: int = 90) -> Iterator[list[Any]]:
    """Calls of kernels inside, with CPU tensors, append what was compiled for ``capability`` and write nothing."""
    from triton.runtime.jit import JITFunction

    found: list[Any] = []

    def run(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        found.append(_compile(self, arguments, options, capability))

    launch, JITFunction.run = JITFunction.run, run
    try:
        yield found
    finally:
        JITFunction.run = launch


def _compile(
    kernel: Any, arguments: tuple[Any, ...], options: dict[str, Any], capability: int
) -> Any:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    chosen = {name: options.pop(name) for name in _OPTIONS if name in options}
    values = {**dict(zip(kernel.arg_names, arguments, strict=False)), **options}
    types, constants, traits = {}, {}, {}
    for number, (name, parameter) in enumerate(zip(kernel.arg_names, kernel.params, strict=True)):
        value = values[name]
        types[name] = "constexpr" if parameter.is_constexpr or value is None else _type(value)
        if types[name] == "constexpr":
            constants[name] = value
        elif isinstance(value, Tensor) and value.data_ptr() % 16 == 0:
            traits[(number,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, types, constants, attrs=traits)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=chosen)


def _type(value: Any) -> str:
    if isinstance(value, Tensor):
        return _TYPES[value.dtype]
    if isinstance(value, float):
        return "fp32"
    return "i32" if value < 1 << 31 else "i64"
