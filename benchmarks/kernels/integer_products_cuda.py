"""Deployed layers on a CUDA device: integer products with the neuron fused, against half precision and the libraries.

The float16 contestant is what a net without integers runs: torch's product (cuDNN's convolution), then Synfire's own
float16 neuron kernel. The libraries' integer and fp8 products stand beside it without a neuron. Integer contestants are
checked bit for bit before they are timed; half precision rounds, so its counts may differ in a few places.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness import (
    Disagreement,
    Outcome,
    Target,
    Timing,
    gpu_name,
    measure_on_gpu,
    ratio,
    report,
    same_counts,
)
from synfire.kernels import explain, use
from synfire.kernels.integer_attention import integer_attention
from synfire.kernels.integer_conv import integer_conv2d, integer_conv2d_fire
from synfire.kernels.integer_conv.reference import product
from synfire.kernels.integer_linear import bound_of, integer_linear, integer_linear_fire
from synfire.kernels.integer_neuron import IntegerNeuron, fire_rows, integer_fire
from synfire.kernels.integrate_fire import fire, neuron_dynamics
from synfire.layers.spike_attention import spike_attention

DEVICE = "cuda"
LEVELS = 4
NEURON = IntegerNeuron(LEVELS)
HALF_NEURON = neuron_dynamics(LEVELS, "half_up", unit="count")
SCALE = 2.0**-8
"""float16 weights are integers times this, so that sums stay inside of float16."""
FLIPPED = 0.02
"""Share of counts that float16 may round to a neighbour."""
LINEAR = (65536, 1024, 1024)
CONVOLUTIONS = ((64, 32, 256, 256), (128, 28, 128, 128), (64, 14, 512, 512))
"""Batch, height and width, channels in and out of 3x3 convolutions with stride 1 and padding 1."""
ATTENTION = ((128, 8, 196, 48), (16, 8, 1024, 64), (1, 8, 16384, 64))
"""Batch, heads, tokens and width of a head."""
SILENT_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
Table = dict[str, Timing]


def draw_counts(*shape: int, share: float = 0.25) -> Tensor:
    """Counts of which about a ``share`` is not zero."""
    counts = torch.randint(1, LEVELS + 1, shape, dtype=torch.uint8, device=DEVICE)
    return counts * (torch.rand(shape, device=DEVICE) < share)


@dataclass(frozen=True)
class Layer:
    """Weights int8 and thresholds of a layer, with a promise about them."""

    weight: Tensor
    threshold: Tensor
    bound: int

    @classmethod
    def draw(cls, *shape: int) -> Layer:
        """Thresholds as large as the sums, so that all counts occur."""
        fan_in = torch.Size(shape[1:]).numel()
        weight = torch.randint(-127, 128, shape, dtype=torch.int8, device=DEVICE)
        size = int(60 * fan_in**0.5)
        theta = torch.randint(size // 3, size, shape[:1], dtype=torch.int32, device=DEVICE)
        return cls(weight, theta, bound_of(theta, LEVELS))


def fire_half(sums: Tensor, threshold: float) -> Tensor:
    """Synfire's neuron in float16, counts in float16 for the next layer."""
    counts, _, _ = fire(sums, 1, form="float", threshold=threshold, dynamics=HALF_NEURON)
    return counts


def must_be_equal(name: str, found: Tensor, expected: Tensor) -> None:
    """Integers are right or wrong."""
    if not torch.equal(found, expected):
        share = float((found != expected).float().mean())
        raise Disagreement(f"{name} is not exact: {share:.2e} of all places differ")


def linear() -> tuple[Table, list[Target], dict[str, str]]:
    """The fused linear layer against the float16 pair and the bare products of the libraries."""
    rows, columns, fan_in = LINEAR
    counts, layer = draw_counts(rows, fan_in), Layer.draw(columns, fan_in)
    constant = int(layer.threshold.float().mean())
    sums = torch.cat([_exact(part, layer.weight) for part in counts.split(8192)])
    right, _ = fire_rows(sums, layer.threshold, 0, None, 1, NEURON)
    given = {"count_levels": LEVELS}
    half_counts, half_weight = counts.half(), layer.weight.half().t().contiguous() * SCALE
    fused = partial(
        integer_linear_fire,
        counts,
        layer.weight,
        layer.threshold,
        NEURON,
        bound=layer.bound,
        **given,
    )
    power = 1 << constant.bit_length() - 1
    fused_power = partial(integer_linear_fire, counts, layer.weight, power, NEURON, **given)
    contestants = {
        "fused": fused,
        "fused, power of two": fused_power,
        "integer product": partial(integer_linear, counts, layer.weight, **given),
        "integer product, then neuron": lambda: integer_fire(
            integer_linear(counts, layer.weight, **given), layer.threshold, NEURON
        ),
        "float16 product": lambda: half_counts @ half_weight,
        "float16 product, then neuron": lambda: fire_half(
            half_counts @ half_weight, constant * SCALE
        ),
        "torch._int_mm": partial(torch._int_mm, counts.view(torch.int8), layer.weight.t()),
        "torch._scaled_mm, fp8": _scaled(counts, layer.weight),
    }
    must_be_equal("fused", fused()[0], right)
    must_be_equal(
        "fused, power", fused_power()[0], fire_rows(sums, None, power, None, 1, NEURON)[0]
    )
    must_be_equal("product", contestants["integer product"](), sums)
    must_be_equal("neuron", contestants["integer product, then neuron"]()[0], right)
    must_be_equal("torch._int_mm", contestants["torch._int_mm"](), sums)
    same, _ = fire_rows(sums, None, constant, None, 1, NEURON)
    same_counts("float16", contestants["float16 product, then neuron"](), same, FLIPPED)
    told = explain("integer_linear_fire", (counts, layer.weight)).path
    del sums, right, same
    table = measure_on_gpu(contestants)
    title = f"linear and neuron, {rows} x {columns} x {fan_in}"
    report(title, table, "fused")
    times = ratio(table, "float16 product, then neuron", "fused")
    operations = 2 * rows * columns * fan_in / 1e9
    notes = {
        "path": told,
        "TOPS, fused": f"{operations / table['fused'].median:.0f}",
    }
    return table, [Target(gpu_name(), f"{title}, against float16", 2.0, times)], notes


def _exact(counts: Tensor, weight: Tensor) -> Tensor:
    return (counts.double() @ weight.double().T).to(torch.int32)


def _scaled(counts: Tensor, weight: Tensor) -> partial[Tensor]:
    """cuBLAS's fp8 product; for its time only, since 8-bit weights do not fit into fp8."""
    one = torch.ones((), device=DEVICE)
    eight = torch.float8_e4m3fn
    return partial(
        torch._scaled_mm, counts.half().to(eight), weight.half().to(eight).t(),
        scale_a=one, scale_b=one, out_dtype=torch.float16,
    )  # fmt: skip


def convolutions() -> tuple[dict[str, Table], list[Target]]:
    """Fused 3x3 convolutions against cuDNN's in float16 and a neuron kernel, all channels last."""
    tables, targets = {}, []
    for batch, size, channels, columns in CONVOLUTIONS:
        counts, layer = (
            draw_counts(batch, size, size, channels),
            Layer.draw(columns, 3, 3, channels),
        )
        constant = int(layer.threshold.float().mean())
        half_counts = counts.half().permute(0, 3, 1, 2)
        half_weight = (layer.weight.half() * SCALE).permute(0, 3, 1, 2)
        given = {"padding": 1, "count_levels": LEVELS}
        fused = partial(
            integer_conv2d_fire,
            counts,
            layer.weight,
            layer.threshold,
            NEURON,
            bound=layer.bound,
            **given,
        )
        half = partial(torch.nn.functional.conv2d, half_counts, half_weight, padding=1)
        contestants = {
            "fused": fused,
            "integer convolution": partial(integer_conv2d, counts, layer.weight, **given),
            "float16 convolution": half,
            "float16 convolution, then neuron": lambda half=half, theta=constant * SCALE: fire_half(
                half(), theta
            ),
        }
        sums = product(counts, layer.weight, 1, 1, _exact)
        must_be_equal("convolution", contestants["integer convolution"](), sums)
        rows = sums.reshape(-1, columns)
        right, _ = fire_rows(rows, layer.threshold, 0, None, 1, NEURON)
        must_be_equal("fused", fused()[0].reshape(-1, columns), right)
        same, _ = fire_rows(rows, None, constant, None, 1, NEURON)
        found = contestants["float16 convolution, then neuron"]().permute(0, 2, 3, 1)
        same_counts("float16", found.reshape(-1, columns), same, FLIPPED)
        del sums, rows, right, same
        with _tuned_cudnn():
            table = measure_on_gpu(contestants)
        title = f"3x3 convolution and neuron, {batch} x {size} x {size} x {channels} to {columns}"
        report(title, table, "fused")
        tables[title] = table
        times = ratio(table, "float16 convolution, then neuron", "fused")
        targets.append(Target(gpu_name(), f"{title}, against float16", 1.5, times))
    return tables, targets


@contextmanager
def _tuned_cudnn() -> Iterator[None]:
    """cuDNN tries its algorithms first and takes the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def small_weights() -> Table:
    """Weights of 4 bits: the int8 and the fp8 path of the library, both exact."""
    rows, columns, fan_in = LINEAR
    counts = draw_counts(rows, fan_in)
    weight = torch.randint(-15, 16, (columns, fan_in), dtype=torch.int8, device=DEVICE)
    levels = {"count_levels": LEVELS, "weight_levels": 15}
    right = torch.cat([_exact(part, weight) for part in counts.split(8192)])

    def on(path: str) -> Tensor:
        with use(path):
            return integer_linear(counts, weight, **levels)

    contestants = {"int8": partial(on, "triton"), "fp8": partial(on, "fp8")}
    for name, call in contestants.items():
        must_be_equal(name, call(), right)
    table = measure_on_gpu(contestants)
    report("product with weights of 4 bits, sums in int32", table, "int8")
    return table


def attention() -> dict[str, Table]:
    """Exact integers against the float operator, whose float16 and bfloat16 forms round."""
    tables = {}
    for batch, heads, tokens, width in ATTENTION:
        q, k, v = (
            draw_counts(batch, tokens, heads * width).unflatten(2, (heads, width)).transpose(1, 2)
            for _ in range(3)
        )
        integers = partial(integer_attention, q, k, v, LEVELS)
        must_be_equal(
            "attention",
            integers(),
            (q.double() @ (k.double().transpose(-1, -2) @ v.double())).to(torch.int32),
        )
        floats = {
            str(dtype).removeprefix("torch."): partial(
                spike_attention, q.to(dtype), k.to(dtype), v.to(dtype), 1.0
            )
            for dtype in (torch.float32, torch.bfloat16, torch.float16)
        }
        table = measure_on_gpu({"integers": integers, **floats})
        title = f"attention, {batch} x {heads} heads, {tokens} tokens of {width}"
        report(title, table, "integers")
        tables[title] = table
    return tables


def silent_blocks() -> tuple[Table, dict[str, str]]:
    """Where skipping silent blocks of 128 rows and 128 inputs begins to pay, the pass that finds them included."""
    from synfire.kernels.integer_linear import triton

    rows, columns, fan_in = LINEAR
    dense, layer = draw_counts(rows, fan_in), Layer.draw(columns, fan_in)
    table: Table = {}
    pays = "never"
    for share in SILENT_SHARES:
        blocks = torch.rand(rows // 128, fan_in // 128, device=DEVICE) >= share
        counts = dense * blocks.repeat_interleave(128, 0).repeat_interleave(128, 1)
        run = partial(
            triton.run, counts, layer.weight, None, LEVELS,
            neuron=NEURON, threshold=layer.threshold, bound=layer.bound,
        )  # fmt: skip
        must_be_equal("skipping", run(skip_silent=True)[0], run()[0])
        timed = measure_on_gpu({"all": run, "skip": partial(run, skip_silent=True)})
        table |= {f"{way}, {share:.0%} silent": timing for way, timing in timed.items()}
        if pays == "never" and ratio(timed, "all", "skip") > 1:
            pays = f"from a silent share of {share:.0%} (of those tried)"
    report("tiles, silent blocks skipped", table, "all, 0% silent")
    return table, {"skipping silent blocks pays": pays}


def run() -> Outcome:
    """All tables."""
    torch.manual_seed(0)
    table, targets, notes = linear()
    convolved, more = convolutions()
    attended = attention()
    four_bits = small_weights()
    silent, pays = silent_blocks()
    tables = {
        "linear and neuron": table,
        **convolved,
        **attended,
        "weights of 4 bits": four_bits,
        "silent blocks": silent,
    }
    return Outcome(tables, targets + more, notes=notes | pays)
