"""The frame of the benchmarks: honest contestants, valid JSON, one table of targets."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import harness
from benchmarks.catalogue import catalogue, chosen
from benchmarks.harness import Disagreement, Timing, measure_together, ratio, save
from benchmarks.memory import kept_bytes
from benchmarks.outcome import Outcome, Target, read, table_of_targets, targets_of
from synfire.core.errors import UnknownNameError

ROOT = Path(__file__).parents[2]


def test_a_timing_summarises_its_rounds():
    timing = Timing.of([3.0, 1.0, 2.0])
    assert (timing.median, timing.fastest, timing.slowest, timing.repeats) == (2.0, 1.0, 3.0, 3)


def test_contestants_take_turns():
    order = []
    timings = measure_together({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert {timing.repeats for timing in timings.values()} == {3}


def test_a_ratio_is_the_median_over_the_rounds():
    timings = {"slow": Timing.of([2.0, 30.0, 4.0]), "fast": Timing.of([1.0, 10.0, 1.0])}
    assert ratio(timings, "slow", "fast") == 3.0


def test_other_counts_are_refused():
    counts = torch.randint(0, 4, (1000,)).float()
    harness.same_counts("equal", counts.half(), counts)
    other = counts.clone()
    other[7] += 1
    with pytest.raises(Disagreement, match=r"peer gives other counts in 1\.00e-03"):
        harness.same_counts("peer", other, counts)
    harness.same_counts("peer", other, counts, share=2e-3)
    with pytest.raises(Disagreement, match="shape"):
        harness.same_counts("peer", counts[:5], counts)


@pytest.mark.parametrize("spoilt", [1.1, math.nan])
def test_other_gradients_are_refused(spoilt):
    gradient = torch.randn(50)
    harness.same_values("equal", gradient * (1 + 1e-6), gradient)
    with pytest.raises(Disagreement, match="peer is off by"):
        harness.same_values("peer", gradient * spoilt, gradient)


def test_results_are_json_with_machine_and_targets(tmp_path):
    targets = [
        Target("CPU", "forward", 0.65, 0.7, "of the roof"),
        Target("CPU", "memory", 1.0, 1.5, "GiB", at_most=True, note="why"),
    ]
    outcome = Outcome(
        {"forward": {"ours": Timing.of([1.0, 2.0])}}, targets, {"bytes": {"ours": 0.5}}, {"a": "b"}
    )
    content = read(save("tiny", outcome, tmp_path))
    assert content == json.loads((tmp_path / "tiny.json").read_text())
    assert content["milliseconds"]["forward"]["ours"] == {
        "median": 1.5, "fastest": 1.0, "slowest": 2.0, "repeats": 2, "host": None,
    }  # fmt: skip
    assert [row["met"] for row in content["targets"]] == [True, False]
    assert content["machine"]["versions"]["torch"] == version("torch")
    assert content["machine"]["threads"] == torch.get_num_threads()
    assert targets_of(content) == targets
    table = table_of_targets(targets_of(content)).splitlines()
    assert table[1].endswith(" met")
    assert table[2].endswith("MISSED")
    assert table[3].strip() == "(why)"


def test_bare_tables_can_be_saved(tmp_path):
    content = read(save("bare", {"forward": {"ours": Timing.of([1.0])}}, tmp_path))
    assert content["milliseconds"]["forward"]["ours"]["median"] == 1.0
    assert content["targets"] == []


def test_a_figure_that_is_absent_meets_nothing(tmp_path):
    for at_most in (False, True):
        assert not Target("CPU", "forward", 1.0, math.nan, at_most=at_most).met


def test_what_a_graph_keeps_is_counted_once():
    x, w = torch.randn(10, 10), torch.randn(10, requires_grad=True)
    assert kept_bytes(lambda: (x * w).sum()) == 0  # x and w existed before
    assert kept_bytes(lambda: (x * w).exp().sum()) == x.nbytes  # exp keeps its result
    assert kept_bytes(lambda: (x * w).exp().view(-1).sigmoid().sum()) == 2 * x.nbytes


def test_a_block_of_convolution_norm_and_relu_keeps_two_tensors():
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    x = torch.randn(2, 2, 8, 8)
    tensor = 2 * 4 * 8 * 8 * 4
    assert 2 * tensor <= kept_bytes(lambda: net(x)) <= 2 * tensor + 64  # and BN's statistics


def test_every_benchmark_is_found_by_name():
    known = catalogue()
    assert "integrate_fire" in known
    assert known["integrate_fire"].results(2) == "integrate_fire-2-threads"
    assert {benchmark.device for benchmark in known.values()} <= {"cpu", "cuda"}
    names = {benchmark.results(1) for benchmark in known.values()}
    assert len(names) == len(known)  # no two write the same file
    assert list(chosen(["integrate_fire"], "cpu")) == ["integrate_fire"]
    assert list(chosen(["integrate_fire"], "cuda")) == []
    with pytest.raises(UnknownNameError, match="integrate_fire"):
        chosen(["integrate_fir"], None)


def test_the_command_lists_and_refuses():
    command = [sys.executable, "-m", "benchmarks"]
    listed = subprocess.run(
        [*command, "--list", "--device", "cpu"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "integrate_fire" in listed.stdout
    refused = subprocess.run([*command, "no_such"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "unknown benchmark 'no_such'" in refused.stderr
