"""Products of binary spikes at 5, 10, 20 and 30 % density against dense ones, on the CPU.

Matrix: [4096, 512] spikes times a [512, 512] weight. Convolution: 16 images of 128 channels and 16x16 pixels, 128
outputs, kernel 3x3. Contestants: torch's float32 products (``mm``, oneDNN's own layout, convolution channels last), the
int8 layers of FBGEMM and oneDNN (uint8 to uint8, per tensor) and ``torch._int_mm`` (to int32), a CSR product of torch,
and synfire's sums over events with float32, int16 and int8 weights from uint8, packed bits and float32.

Where a contestant takes an output to write, it is reused. Both tables are measured twice: as the machine is, and with
all contestants held to AVX2 in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as nn_functional
from torch import Tensor

from benchmarks.harness import (
    Disagreement,
    Outcome,
    Target,
    Timing,
    measure_together,
    or_why_not,
    ratio,
    report,
    same_values,
)
from synfire.kernels import native
from synfire.kernels.event_conv import event_conv
from synfire.kernels.event_linear import EventWeight, event_linear
from synfire.kernels.packing import pack_bits

ROWS, INPUTS, OUTPUTS = 4096, 512, 512
IMAGES, CHANNELS, SIZE = 16, 128, 16
DENSITIES = (0.05, 0.1, 0.2, 0.3)
ROUNDS = 31
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
}
FLOAT_BOUNDS = {0.05: 6, 0.1: 3.5, 0.2: 1.8}
BYTE_BOUNDS = {0.05: 11, 0.1: 7, 0.2: 4.3}
CONV_BOUNDS = {0.05: 5.5, 0.1: 3, 0.2: 1.6}
DENSE_BYTE_BOUNDS = {0.1: 4, 0.2: 2.5}
Calls = dict[str, Callable[[], Any]]
Tables = dict[str, dict[str, Timing]]


def spikes(shape: tuple[int, ...], density: float) -> Tensor:
    """Binary float32."""
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(shape, generator=draw) < density).float()


def weight_of(shape: tuple[int, ...]) -> Tensor:
    """Integers of -127..127 in float32: all contestants have the same weights."""
    return torch.randint(-127, 128, shape, generator=torch.Generator().manual_seed(1)).float()


def quantised(layer: Any, x: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    """An int8 layer of torch with uint8 in and out; its output scale lets nothing saturate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the eager API is said to move one day
        layer.set_weight_bias(torch.quantize_per_tensor(weight, 1.0, 0, torch.qint8), None)
        layer.scale, layer.zero_point = 64.0, 128
        given = torch.quantize_per_tensor(x, 1.0, 0, torch.quint8)
    return lambda: layer(given)


def dense_bytes(make: Callable[[], Any], x: Tensor, weight: Tensor, expected: Tensor) -> Calls:
    """The quantised layer on each engine that this torch has."""
    calls: Calls = {}
    for engine, title in (("fbgemm", "FBGEMM"), ("onednn", "oneDNN")):
        if engine not in torch.backends.quantized.supported_engines:
            continue
        torch.backends.quantized.engine = engine
        run = quantised(make(), x, weight)
        off = (run().dequantize() - expected).abs().max()
        inside = (expected.abs() < 64 * 120).all()
        if not (inside and off <= 64):
            raise Disagreement(f"{title} is off by {float(off)}, one level is 64")
        calls[f"dense int8, {title}"] = on_engine(engine, run)
    return calls


def on_engine(engine: str, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def call() -> Tensor:
        torch.backends.quantized.engine = engine
        return run()

    return call


def ours(product: Callable[..., Tensor], x: Tensor, bits: Tensor, weight: Tensor) -> Calls:
    """The event path, at any density."""
    every: dict[str, Any] = {"density_limit": float("inf")}
    calls: Calls = {}
    counts = x.to(torch.uint8)
    for dtype in (torch.float32, torch.int16, torch.int8):
        name, packed = str(dtype).removeprefix("torch."), EventWeight.pack(weight.to(dtype))
        out = product(counts, packed, **every)
        options = {"weight": packed, "out": out, **every}
        calls[f"synfire {name}"] = partial(product, counts, **options)
        if dtype != torch.int16:
            calls[f"synfire {name}, from bits"] = partial(product, bits, packed=True, **options)
            calls[f"synfire {name}, from float32"] = partial(product, x, **options)
    return calls


def check(calls: Calls, expected: Tensor) -> None:
    """Refuse contestants that are not exact; integer weights make that possible for all of them."""
    for name, call in calls.items():
        out = call()
        if out.is_quantized:
            continue  # checked where it was made
        same_values(name, out.to_dense() if out.layout != torch.strided else out, expected, 0.0)


def matrix(density: float) -> Calls:
    x, weight = spikes((ROWS, INPUTS), density), weight_of((OUTPUTS, INPUTS))
    transposed, expected = weight.t().contiguous(), x.double() @ weight.double().t()
    layer = torch.nn.Linear(INPUTS, OUTPUTS, bias=False)
    layer.weight.data = weight
    bytes_of_x, bytes_of_weight = x.to(torch.int8), weight.to(torch.int8)
    integers = torch.empty(ROWS, OUTPUTS, dtype=torch.int32)
    out = torch.empty(ROWS, OUTPUTS)
    calls: Calls = {"dense float32, mm": lambda: torch.mm(x, transposed, out=out)}
    if or_why_not(lambda: one_dnn(layer, x)()) is None:
        calls["dense float32, oneDNN layout"] = one_dnn(layer, x)
    calls |= dense_bytes(
        lambda: torch.ao.nn.quantized.Linear(INPUTS, OUTPUTS), x, weight, expected.float()
    )
    calls["dense int8, _int_mm"] = lambda: torch._int_mm(
        bytes_of_x, bytes_of_weight.t(), out=integers
    )
    sparse = as_csr(x)
    calls["CSR float32, given as CSR"] = lambda: sparse @ transposed
    calls |= ours(event_linear, x, pack_bits(x), weight)
    check(calls, expected)
    return calls


def one_dnn(layer: torch.nn.Linear, x: Tensor) -> Callable[[], Tensor]:
    from torch.utils import mkldnn

    packed, given = mkldnn.to_mkldnn(layer), x.to_mkldnn()
    return lambda: packed(given).to_dense()


def as_csr(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # CSR is said to be in beta
        return x.to_sparse_csr()


def convolution(density: float) -> Calls:
    last: dict[str, Any] = {"memory_format": torch.channels_last}
    x = spikes((IMAGES, CHANNELS, SIZE, SIZE), density).contiguous(**last)
    weight = weight_of((CHANNELS, CHANNELS, 3, 3)).contiguous(**last)
    expected = nn_functional.conv2d(x.double(), weight.double(), padding=1)
    calls: Calls = {"dense float32": lambda: nn_functional.conv2d(x, weight, padding=1)}
    calls |= dense_bytes(
        lambda: torch.ao.nn.quantized.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        x, weight, expected.float(),
    )  # fmt: skip

    product = partial(event_conv, padding=1)
    calls |= ours(product, x, pack_bits(x.movedim(1, -1)), weight)
    check(calls, expected)
    return calls


def compare(label: str) -> Tables:
    """Both products at all densities; ``label`` stands in the titles."""
    tables: Tables = {}
    with torch.no_grad():
        for density in DENSITIES:
            for name, make, baseline in (
                ("matrix", matrix, "dense float32, mm"),
                ("convolution", convolution, "dense float32"),
            ):
                title = f"{name}, {density:.0%}{label}"
                tables[title] = measure_together(make(density), ROUNDS)
                report(title, tables[title], baseline)
    return tables


def compare_with_avx2(threads: int) -> Tables:
    """The same in a process whose libraries were told of AVX2 before they were loaded."""
    torch.set_num_threads(threads)
    module = native._extension()[0]
    if module is not None:
        module.limit_lanes(8)
    return compare(", AVX2")


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def targets_of(tables: Tables, label: str, where: str) -> list[Target]:
    targets = []
    for density in FLOAT_BOUNDS:
        table = tables[f"matrix, {density:.0%}{label}"]
        bytewise = [name for name in table if name.startswith("dense int8")]
        best = min(bytewise, key=lambda name: table[name].median)
        conv = tables[f"convolution, {density:.0%}{label}"]
        for bounds, contents, dense, mine, what in (
            (FLOAT_BOUNDS, table, "dense float32, mm", "synfire float32", "matrix"),
            (BYTE_BOUNDS, table, "dense float32, mm", "synfire int8", "matrix"),
            (DENSE_BYTE_BOUNDS, table, best, "synfire int8", "matrix"),
            (CONV_BOUNDS, conv, "dense float32", "synfire float32", "convolution 3x3"),
        ):
            if density in bounds:
                weights = mine.removeprefix("synfire ")
                measure = f"event {what}, {weights} weights, {density:.0%}, against {dense}"
                times = ratio(contents, dense, mine)
                targets.append(Target(where, measure, bounds[density], times))
    return targets


def rates(tables: Tables, label: str) -> dict[str, str]:
    """How fast lines of 64 bytes of weights were read: what limits the sums."""
    notes = {}
    for density in DENSITIES:
        for name, columns in (("float32", 16), ("int8", 64)):
            lines = density * ROWS * INPUTS * OUTPUTS / columns
            time = tables[f"matrix, {density:.0%}{label}"][f"synfire {name}"].fastest
            notes[f"matrix, {density:.0%}{label}, {name}"] = (
                f"{lines / time / 1e3:.0f} million lines of 64 bytes a second, "
                f"{lines * 64 / time / 1e6:.0f} GB/s"
            )
    return notes


def run() -> Outcome:
    """All densities with all that the processor has, then with AVX2."""
    threads = torch.get_num_threads()
    where = f"CPU, {threads} thread{'s'[: threads - 1]}"
    tables = compare("")
    targets, notes = targets_of(tables, "", where), rates(tables, "")
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        with environment(AVX2), multiprocessing.get_context("spawn").Pool(1) as pool:
            narrow = pool.apply(compare_with_avx2, (threads,))
        targets += targets_of(narrow, ", AVX2", f"{where}, AVX2")
        notes |= rates(narrow, ", AVX2")
        tables |= narrow
    return Outcome(tables, targets, notes=notes)
