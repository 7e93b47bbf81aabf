"""Sweep of all designs and tiles of the fused integer linear layer on a CUDA device, exact first, then timed.

    python -m benchmarks.tuning.integer_products [--shape M N K] [--out FILE] [--seconds S]

Each family of designs is a process of its own: families compile side by side and take turns on the GPU, and one that
hangs or crashes is ended by itself and reported, while the others go on. The table is sorted by time; the last lines
are what to write into ``synfire/kernels/integer_linear/tuning.py``.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synfire.kernels.integer_linear.tuning import DESIGNS, Design, Tile, tile_for
from synfire.kernels.integer_neuron import IntegerNeuron, bound_of, fire_rows

LEVELS = 4
SHIFT = 9
NEURON = IntegerNeuron(LEVELS)
TURN_SECONDS = 25
"""A family holds the GPU no longer; a kernel that hangs would hold it for ever."""
FAMILIES = ("tiles, 8 warps", "tiles, 4 warps", "described", "int32", *DESIGNS)
Layer = dict[str, Any]
Run = Callable[[], Tensor]


def tiles(warps: int) -> list[Tile]:
    """Plain tiles worth a try with one or two blocks on a multiprocessor."""
    shapes = {
        8: [
            (128, 256, 128, 3), (128, 256, 128, 4), (256, 128, 128, 3), (256, 128, 128, 4),
            (128, 256, 64, 4), (128, 256, 256, 2), (256, 128, 256, 2), (128, 128, 128, 3),
        ],
        4: [
            (128, 128, 128, 3), (128, 128, 128, 2), (128, 128, 64, 4), (128, 128, 256, 2),
            (64, 256, 128, 2), (64, 256, 128, 3), (128, 64, 128, 4), (64, 128, 128, 4),
        ],
    }  # fmt: skip
    return [Tile(m, n, k, warps, stages) for m, n, k, stages in shapes[warps]]


def designs(name: str) -> list[Design]:
    """A Hopper design and its neighbours."""
    base = DESIGNS[name]
    return [
        base,
        replace(base, group=16),
        replace(base, group=4),
        replace(base, stages=base.stages - 1),
        *([replace(base, fan_in=64, stages=2 * base.stages)] if not base.resident else []),
    ]


def contestants(family: str, layer: Layer) -> Iterator[tuple[str, Any, str, Run]]:
    """Name, configuration, form of the neuron and call of everything in a family."""
    counts, weight, bias = layer["counts"], layer["weight"], layer["bias"]
    forms = {"channels": layer["channels"], "shift": layer["shift"]}
    if family.startswith("tiles"):
        from synfire.kernels.integer_linear import triton as tiled

        for tile, (form, neuron) in product(tiles(int(family.split()[1])), forms.items()):
            options = {"tile": tile, "neuron": NEURON, **neuron}
            b = bias if form == "channels" else None
            yield "tile", tile, form, lambda o=options, b=b: tiled.run(counts, weight, b, 4, **o)[0]
    elif family == "int32":
        from synfire.kernels.integer_linear import triton as tiled

        for tile in (*tiles(8)[:4], *tiles(4)[:2]):
            yield "tile", tile, "sums", lambda t=tile: tiled.run(counts, weight, None, 4, tile=t)[0]
    elif family == "described":
        from benchmarks.tuning.described_tiles import linear_shift

        described = (tiles(8)[0], tiles(8)[1], tiles(8)[3], tiles(4)[0])
        for tile, flatten, special in product(described, (False, True), (False, True)):
            if special and tile.warps == 8:
                continue  # the compiler leaves eight warps as they are
            name = "descriptors" + ", flat" * flatten + ", copying warp" * special
            given = (counts, weight, SHIFT, LEVELS, tile, flatten, special)
            yield name, tile, "shift", lambda g=given: linear_shift(*g)
    else:
        from synfire.kernels.integer_linear import triton_hopper as hopper

        for design, (form, neuron) in product(designs(family), forms.items()):
            if reason := design.refuses(counts, weight):
                print(f"{family}: {reason}", file=sys.stderr)
                return
            options = {"design": design, "neuron": NEURON, **neuron}
            b = bias if form == "channels" else None
            call = lambda o=options, b=b: hopper.linear_fire(counts, weight, b, **o)  # noqa: E731
            yield family, design, form, call


def draw(rows: int, columns: int, fan_in: int) -> Layer:
    """A layer whose counts and neurons look like a trained net's: a quarter of the counts are not zero."""
    random = torch.Generator("cuda").manual_seed(0)
    drawn = {"generator": random, "device": "cuda"}
    counts = torch.randint(1, LEVELS + 1, (rows, fan_in), dtype=torch.uint8, **drawn)
    counts *= torch.rand(rows, fan_in, **drawn) < 0.25
    weight = torch.randint(-127, 128, (columns, fan_in), dtype=torch.int8, **drawn)
    bias = torch.randint(-1000, 1000, (columns,), dtype=torch.int32, **drawn)
    theta = torch.randint(400, 2500, (columns,), dtype=torch.int32, **drawn)
    return {
        "counts": counts,
        "weight": weight,
        "bias": bias,
        "channels": {"threshold": theta, "bound": bound_of(theta, LEVELS, bias)},
        "shift": {"threshold_value": 1 << SHIFT},
    }


def expected(layer: Layer) -> dict[str, Tensor]:
    """Right results by float64 products, in parts."""
    counts, weight, theta = (
        layer["counts"],
        layer["weight"].double().T,
        layer["channels"]["threshold"],
    )
    parts: dict[str, list[Tensor]] = {"sums": [], "channels": [], "shift": []}
    for part in counts.split(8192):
        sums = (part.double() @ weight).to(torch.int32)
        parts["sums"].append(sums)
        parts["channels"].append(fire_rows(sums + layer["bias"], theta, 0, None, 1, NEURON)[0])
        parts["shift"].append(fire_rows(sums, None, 1 << SHIFT, None, 1, NEURON)[0])
    return {form: torch.cat(found) for form, found in parts.items()}


def compile_all(runs: list[Run]) -> list[str | None]:
    """Compile all kernels in threads, without launching one; what failed, per run."""
    from triton.runtime.jit import JITFunction

    launch = JITFunction.run

    def only_compile(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        return launch(self, *args, grid=grid, warmup=True, **options)

    def attempt(run: Run) -> str | None:
        try:
            run()
        except Exception as problem:  # any error of the compiler is a line of the table
            return f"{type(problem).__name__}: {str(problem).strip().splitlines()[-1][:120]}"
        return None

    JITFunction.run = only_compile
    try:
        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(attempt, runs))
    finally:
        JITFunction.run = launch


@contextmanager
def turn(lock: Path) -> Iterator[None]:
    """The GPU for one family; the process ends itself where it takes too long."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        watchdog = threading.Timer(TURN_SECONDS, lambda: os._exit(3))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()


def work(family: str, shape: tuple[int, int, int], lock: Path, out: Path) -> None:
    """Compile, check and time one family; rows are written as they come."""
    from triton.testing import do_bench

    with turn(lock):
        layer = draw(*shape)
        torch.cuda.synchronize()
    entries = list(contestants(family, layer))
    failures = compile_all([run for *_, run in entries])
    right = None
    with turn(lock), out.open("w") as rows:
        for (name, how, form, run), failure in zip(entries, failures, strict=True):
            row = {"name": name, "form": form, "how": asdict(how), "problem": failure}
            if failure is None:
                print(f"{family}: {name} {form} {how}", file=sys.stderr, flush=True)
                right = right or expected(layer)
                if not torch.equal(run(), right[form]):
                    row["problem"] = "WRONG"
                else:
                    row["ms"] = do_bench(run, warmup=10, rep=60, return_mode="median")
            rows.write(json.dumps(row) + "\n")
            rows.flush()


def sweep(shape: tuple[int, int, int], seconds: float) -> list[dict[str, Any]]:
    """All families in processes of their own; their rows, the fastest first."""
    folder = Path(tempfile.mkdtemp())
    jobs = {}
    for number, family in enumerate(FAMILIES):
        command = [sys.executable, "-m", "benchmarks.tuning.integer_products", "--family", family]
        command += ["--shape", *map(str, shape), "--lock", str(folder / "lock")]
        log = (folder / f"{number}.log").open("w")
        out = folder / f"{number}.json"
        jobs[family] = out, log, subprocess.Popen([*command, "--out", str(out)], stderr=log)
    end, rows = time.monotonic() + seconds, []
    for family, (out, log, process) in jobs.items():
        try:
            status = process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        log.close()
        rows += [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        if status:
            last = Path(log.name).read_text().strip().splitlines()[-3:]
            print(f"{family} ended with {status}: {' | '.join(last)}")
    return sorted(rows, key=lambda row: row.get("ms", float("inf")))


def show(rows: list[dict[str, Any]], shape: tuple[int, int, int]) -> None:
    """The table, and the best of each kind."""
    operations = 2 * shape[0] * shape[1] * shape[2]
    print(f"\n{'design':26}{'neuron':10}{'ms':>8}{'TOPS':>7}  configuration")
    for row in rows:
        how = " ".join(f"{key}={value}" for key, value in row["how"].items())
        if row["problem"]:
            print(f"{row['name']:26}{row['form']:10}  {row['problem']}  {how}")
        else:
            tops = operations / row["ms"] / 1e9
            print(f"{row['name']:26}{row['form']:10}{row['ms']:8.4f}{tops:7.0f}  {how}")
    for kind, named in (("tile", Tile), ("design", Design)):
        known = [r for r in rows if "ms" in r and r["form"] == "channels"]
        known = [r for r in known if (r["name"] == "tile") == (kind == "tile")]
        if known:
            print(f"best {kind}: {named(**known[0]['how'])} {known[0]['ms']:.4f} ms")


def main() -> None:
    """The sweep, or one family of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--shape", type=int, nargs=3, default=(65536, 1024, 1024), metavar=("M", "N", "K")
    )
    parser.add_argument("--out", type=Path, help="JSON file of all rows")
    parser.add_argument("--seconds", type=float, default=85, help="limit of the whole sweep")
    parser.add_argument("--family", choices=FAMILIES, help=argparse.SUPPRESS)
    parser.add_argument("--lock", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = tuple(options.shape)
    if options.family:
        work(options.family, shape, options.lock, options.out)
        return
    start = time.monotonic()
    rows = sweep(shape, options.seconds)
    show(rows, shape)
    rows_now = tile_for(shape[0], shape[1], shape[2], stateful=False)
    print(f"tile of the table now: {rows_now}; {time.monotonic() - start:.0f} s")
    if options.out:
        machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
        options.out.write_text(
            json.dumps({"machine": machine, "shape": shape, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
