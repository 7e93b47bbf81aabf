from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from synfire.core.errors import ConfigError, InputError, UnknownNameError
from synfire.energy import Totals, profile
from synfire.energy.summary import joules
from synfire.export.graph import Edge, Node, SpikeGraph
from tests.energy.toys import closed, conv, linear, loop_operations, neuron, source

SAME = ((1, 1), (1, 1))
RNG = np.random.default_rng(0)


def two_layers(levels: int = 4, timesteps: int = 1, decay: float = 1.0) -> SpikeGraph:
    rng = np.random.default_rng(1)
    return closed(
        [
            source((1, 6, 6), encoder={"name": "Direct", "frames": "repeat"}),
            conv("c1", "x", rng.normal(size=(3, 1, 3, 3)), (6, 6), (1, 1), SAME),
            neuron("n1", "c1", (3, 6, 6), levels, decay),
            conv("c2", "n1", rng.normal(size=(4, 3, 3, 3)), (6, 6), (2, 2), SAME),
            neuron("n2", "c2", (4, 3, 3), levels, decay),
            Node(
                "flat", "Reshape", ("n2",), (36,), Edge("count", high=float(levels)),
                attrs={"kind": "view", "shape": [36]},
            ),
            linear("fc", "flat", rng.normal(size=(5, 36)), bias=True),
        ],
        timesteps,
    )  # fmt: skip


def images(samples: int, timesteps: int = 1) -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.repeat(rng.random((1, samples, 1, 6, 6)).astype(np.float32) * 3, timesteps, 0)


def test_binary_net_full_of_ones_does_every_dense_operation() -> None:
    weight = RNG.normal(size=(4, 2, 3, 3)) + 9
    graph = closed([source((2, 6, 6), levels=1), conv("c", "x", weight, (6, 6), (1, 1), SAME)])
    totals = profile(graph, np.ones((1, 3, 2, 6, 6), np.float32)).totals
    assert totals.sop_msg == totals.sop_unit == totals.dense_macs
    assert totals.dense_macs < totals.dense_macs_published == 4 * 36 * 18


def test_unit_operations_are_those_of_unrolled_binary_slots() -> None:
    weight = RNG.normal(size=(4, 2, 3, 3))
    counts = RNG.integers(0, 5, (1, 7, 2, 6, 6)).astype(np.float32)
    slots = np.concatenate([(counts >= d).astype(np.float32) for d in range(1, 5)])
    layer = conv("c", "x", weight, (6, 6), (2, 2), SAME)
    graded = profile(closed([source((2, 6, 6), levels=4), layer]), counts)
    binary = profile(closed([source((2, 6, 6), levels=1), layer]), slots)
    assert graded.totals.sop_unit == binary.totals.sop_msg == binary.totals.sop_unit
    assert graded.totals.sop_msg < graded.totals.sop_unit
    work = [
        report.estimate("compute-only", "serialised").breakdown["synapses"]
        for report in (graded, binary)
    ]
    assert work[0] == pytest.approx(work[1])


def test_counts_equal_plain_loops_in_every_sample() -> None:
    weight = RNG.normal(size=(4, 2, 3, 3))
    weight[RNG.random(weight.shape) < 0.4] = 0
    layer = conv("c", "x", weight, (6, 5), (2, 1), ((1, 0), (2, 1)), groups=2)
    layer.weights["weight"] = layer.weights["weight"][:, :1]
    layer.attrs["groups"] = 2
    counts = RNG.integers(0, 3, (2, 3, 2, 6, 5)).astype(np.float32)
    report = profile(
        closed([source((2, 6, 5), levels=2), layer], timesteps=2), counts, batch_size=2
    )
    loops = np.array([[loop_operations(layer, sample) for sample in step] for step in counts])
    messages, units, dense = loops.sum(0).mean(0)
    row = report.layers[0]
    assert (row.sop_msg, row.sop_unit) == (pytest.approx(messages), pytest.approx(units))
    assert row.dense_macs == dense
    assert row.nonzero_weights == np.count_nonzero(layer.weights["weight"])


def hand_computed() -> SpikeGraph:
    """Two analog inputs, two neurons (0..4), one output with a bias."""
    return closed(
        [
            source((2,)),
            linear("a", "x", np.array([[1, 0], [0, 1]])),
            neuron("n", "a", (2,), 4),
            linear("b", "n", np.array([[1, 1]]), bias=True),
        ]
    )


def test_toy_net_by_hand() -> None:
    report = profile(hand_computed(), np.array([[[3.0, 0.2]]], np.float32))
    assert [row.message for row in report.layers] == ["analog", "graded"]
    first, second = report.layers
    assert (first.macs, first.dense_macs, first.sop_unit) == (4, 4, 0)
    assert (second.events, second.spikes) == (1, 3)
    assert (second.sop_msg, second.sop_unit, second.dense_macs, second.bias_adds) == (1, 3, 2, 1)
    neurons = report.neurons[0]
    assert (neurons.rate, neurons.nonzero, neurons.updates) == (1.5, 0.5, 2)
    # 4 MAC; 3 unit spikes; 1 bias; 2 neuron updates and, for slots, 3 resets
    assert report.estimate("compute-only", "serialised").picojoules == pytest.approx(
        4 * 4.6 + 0.9 * (3 + 1 + 2 + 3)
    )
    # one multiplication for the one message, no reset as nothing follows
    assert report.estimate("compute-only", "graded").picojoules == pytest.approx(
        5 * 4.6 + 0.9 * (1 + 2)
    )
    assert report.estimate("compute-only", "dense").picojoules == pytest.approx(
        6 * 4.6 + 0.9 * (1 + 2)
    )


def test_memory_terms_by_hand() -> None:
    report = profile(hand_computed(), np.array([[[3.0, 0.2]]], np.float32))
    terms = report.estimate("memory-aware", "serialised").breakdown

    def move(bits: float, buffer_bits: float) -> float:
        return bits * (buffer_bits / 8 / 8192 * 10) / 64

    # layer a: 4 weights of 16 bytes; layer b: 3 unit spikes and a bias out of 12 bytes
    assert terms["weights"] == pytest.approx(4 * move(32, 128) + (3 + 1) * move(32, 96))
    # a writes 2 membranes; b reads and writes its one 3 times; the neurons read theirs
    assert terms["potentials"] == pytest.approx(
        2 * move(32, 64) + 6 * move(32, 32) + 2 * move(32, 64)
    )
    # a reads an analog operand for each MAC; 3 addresses of 1 bit go out and come in
    assert terms["messages"] == pytest.approx(4 * move(32, 64) + 3 * move(1, 2) + 3 * move(1, 2))
    # a: indices of 2 inputs, 2 outputs, 4 weights; b: 2 multiplications and an addition per spike
    assert terms["addressing"] == pytest.approx(8 * 0.1 + 3 * (2 * 3.1 + 0.1))


def test_at_one_timestep_graded_messages_are_the_quantised_net() -> None:
    report = profile(two_layers(), images(8))
    for model in ("compute-only", "memory-aware"):
        graded, quantised = (report.estimate(model, net) for net in ("graded", "quantised"))
        assert graded.breakdown == pytest.approx(quantised.breakdown)
        assert graded.picojoules == pytest.approx(quantised.picojoules)
    assert report.conditions.quantised_bits == 3
    assert "is a quantised network" in report.statement
    assert "never multiplied" in report.statement


def test_with_more_timesteps_the_quantised_net_runs_once_on_summed_counts() -> None:
    graph = two_layers(levels=2, timesteps=3)
    report = profile(graph, images(8, 3))
    assert report.conditions.quantised_bits == 3
    assert "one pass" in report.statement
    counts = graph.execute(images(8, 3), record=True).counts["n1"]
    occupied = (counts.sum(0) != 0).reshape(8, -1).sum(1).mean()
    row = next(row for row in report.layers if row.name == "c2")
    assert row.quantised_events == pytest.approx(occupied)
    assert row.quantised_macs < row.sop_msg < row.sop_unit
    for model in ("compute-only", "memory-aware"):
        assert (
            report.estimate(model, "quantised").picojoules
            < report.estimate(model, "graded").picojoules
        )


def test_totals_are_sums_of_the_rows() -> None:
    report = profile(two_layers(timesteps=2), images(5, 2))
    shared = {field.name for field in fields(Totals)} - {
        "rate",
        "nonzero",
        "sop_unit_low",
        "sop_unit_high",
    }
    for name in shared:
        rows = (
            report.neurons if name in ("neurons", "events", "spikes", "updates") else report.layers
        )
        assert getattr(report.totals, name) == pytest.approx(
            sum(getattr(row, name) for row in rows)
        )
    assert report.totals.rate == pytest.approx(report.totals.spikes / report.totals.updates)
    for estimate in report.estimates:
        assert estimate.picojoules == pytest.approx(sum(estimate.breakdown.values()))
        assert estimate.low <= estimate.picojoules <= estimate.high


def test_doubling_the_timesteps_doubles_dynamic_terms() -> None:
    # without memory in the neurons every timestep is the same
    reports = [profile(two_layers(timesteps=t, decay=0.0), images(4, t)) for t in (2, 4)]
    once, twice = (report.totals for report in reports)
    for name in (
        "events",
        "spikes",
        "sop_msg",
        "sop_unit",
        "macs",
        "dense_macs",
        "updates",
        "bias_adds",
    ):
        assert getattr(twice, name) == pytest.approx(2 * getattr(once, name)), name
    assert twice.rate == pytest.approx(once.rate)
    for net in ("serialised", "graded"):
        for model in ("compute-only", "memory-aware"):
            small, large = (report.estimate(model, net) for report in reports)
            assert large.picojoules == pytest.approx(2 * small.picojoules), (net, model)


def test_first_layer_each_step_or_once() -> None:
    graph, x = two_layers(timesteps=3), images(4, 3)
    each = profile(graph, x).layers[0]
    once = profile(graph, x, first_layer="once").layers[0]
    assert each.macs == 3 * once.macs == each.dense_macs
    x[2] = x[2] + 1
    assert profile(graph, x, first_layer="once").layers[0].macs == 2 * once.macs
    x[1:] = 0
    assert profile(graph, x).layers[0].macs == once.macs


def test_a_leak_is_priced_where_state_is_kept() -> None:
    def neurons(decay: float, timesteps: int) -> float:
        graph = two_layers(timesteps=timesteps, decay=decay)
        report = profile(graph, images(2, timesteps))
        return report.estimate("compute-only", "graded").breakdown["neurons"]

    counts = profile(two_layers(timesteps=2, decay=0.5), images(2, 2)).totals
    assert neurons(0.5, 2) == pytest.approx(
        0.9 * (counts.updates + counts.events) + 4.6 * counts.updates
    )
    assert neurons(0.5, 1) == neurons(1.0, 1) == pytest.approx(0.9 * counts.updates / 2)


@pytest.mark.parametrize("as_torch", [False, True])
def test_batches_and_backends_do_not_change_the_counts(as_torch: bool) -> None:
    graph, x = two_layers(), images(10)
    whole = profile(graph, x, batch_size=10)
    inputs = torch.from_numpy(x) if as_torch else x
    for found in (
        profile(graph, inputs, batch_size=3),
        profile(graph, [inputs[:, :4], inputs[:, 4:]]),
        profile(graph, inputs[0]),
    ):
        assert found.totals.sop_unit == pytest.approx(whole.totals.sop_unit)
        assert found.totals.events == pytest.approx(whole.totals.events)
        assert found.conditions.samples == 10


def test_a_static_sample_is_shown_at_each_timestep() -> None:
    graph = two_layers(timesteps=3)
    assert profile(graph, images(4)[0]).totals == profile(graph, images(4, 3)).totals


def test_percentiles_over_samples() -> None:
    graph = closed([source((2,)), neuron("n", "x", (2,), 4)])
    x = np.zeros((1, 101, 2), np.float32)
    x[0, :, 0] = np.linspace(0, 4, 101)
    row = profile(graph, x).neurons[0]
    assert row.rate_low == pytest.approx(np.percentile(np.floor(x[0, :, 0] + 0.5) / 2, 5))
    assert row.rate_high == pytest.approx(2.0)
    assert 0 <= row.rate_low < row.rate < row.rate_high <= 4


def test_the_interior_formula_is_labelled() -> None:
    exact, usual = (profile(two_layers(), images(4), exact=exact) for exact in (True, False))
    assert usual.totals.sop_unit > exact.totals.sop_unit
    assert any("interior formula" in text for text in usual.assumptions)
    assert not any("interior formula" in text for text in exact.assumptions)


def test_attention_counts_products_of_two_values_that_are_there() -> None:
    rng = np.random.default_rng(3)
    counts = [Node(name, "Neuron", ("x",), (2, 3, 4), Edge("count", high=3.0), name,
                   neuron(name, "x", (2, 3, 4), 3).attrs, neuron(name, "x", (2, 3, 4)).weights)
              for name in "qkv"]  # fmt: skip
    attention = Node(
        "att",
        "SpikeAttention",
        ("q", "k", "v"),
        (2, 3, 4),
        Edge("potential"),
        "att",
        {"scale": 1.0},
    )
    graph = closed([source((2, 3, 4)), *counts, attention])
    x = (rng.random((1, 5, 2, 3, 4)) * 3).astype(np.float32)
    row = profile(graph, x).layers[0]
    value = np.floor(np.clip(x[0], 0, 3) + 0.5)
    units = 0.0
    for sample in value:
        for head in sample:
            product = head.T @ head
            units += sum(
                head[n, c] * (head[n, d] != 0) for n in range(3) for c in range(4) for d in range(4)
            )
            units += sum(
                head[n, c] * (product[c, d] != 0)
                for n in range(3)
                for c in range(4)
                for d in range(4)
            )
    assert row.sop_unit == pytest.approx(units / 5)
    assert row.dense_macs == 2 * (2 * 3 * 4 * 4)
    assert row.sop_msg <= row.dense_macs


def test_what_is_not_priced_is_listed_and_real_values_are_macs() -> None:
    shape = (1, 4, 4)
    pool = Node(
        "pool", "Pool", ("n",), (1, 2, 2), Edge("count", high=4.0),
        attrs={"kind": "max", "kernel": [2, 2], "stride": [2, 2], "padding": [[0, 0]] * 2},
    )  # fmt: skip
    norm = Node(
        "norm", "Norm", ("pool",), (1, 2, 2), Edge("real"), attrs={"axes": 2, "epsilon": 1e-5}
    )
    layer = conv("c", "norm", np.ones((1, 1, 1, 1)), (2, 2), (1, 1), ((0, 0), (0, 0)))
    report = profile(
        closed([source(shape), neuron("n", "x", shape), pool, norm, layer]), images(2)[..., :4, :4]
    )
    assert [(row.name, row.op, row.elements) for row in report.unpriced] == [
        ("pool", "max Pool", 16),
        ("norm", "Norm", 4),
    ]
    assert report.layers[0].message == "real"
    assert report.layers[0].macs == 4
    assert report.layers[0].sop_unit == 0
    assert any("c reads values that are not counts" in text for text in report.warnings)


def test_the_choice_of_constants_is_shown() -> None:
    report = profile(two_layers(), images(30), precision="int8")
    assert set(report.other_precisions) == {"fp32", "fp16", "int32"}
    assert any("3.0 accumulates" in text for text in report.assumptions)
    assert any("yet to be quantised" in text for text in report.warnings)
    spiking = report.estimate("compute-only", "serialised")
    assert spiking.low < 0.6 * spiking.picojoules
    fp32 = profile(two_layers(), images(30), access_bits=32)
    wide, narrow = (
        r.estimate("memory-aware", "serialised").breakdown["weights"]
        for r in (profile(two_layers(), images(30)), fp32)
    )
    assert narrow == pytest.approx(2 * wide)


def test_report_is_plain_json_and_never_claims_consumption() -> None:
    report = profile(two_layers(), images(3))
    content = json.loads(json.dumps(report.to_dict()))
    assert content["schema"] == 1
    assert [row["name"] for row in content["layers"]] == ["c1", "c2", "fc"]
    assert len(content["energy"]) == 8
    assert {"pj", "low", "high", "breakdown", "dominant"} <= set(content["energy"][0])
    text = str(report) + json.dumps(content)
    assert "consum" not in text.lower()
    assert "estimated" in report.summary()
    assert "a lower bound" in report.summary()
    assert max(map(len, report.summary().splitlines())) <= 100
    assert any("Only 3 samples" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"hardware": "45mn"}, UnknownNameError, "did you mean 45nm"),
        ({"precision": "fp8"}, UnknownNameError, "fp16"),
        ({"first_layer": "never"}, ConfigError, "each_step or once"),
        ({"state_bits": 0}, ConfigError, "state_bits"),
        ({"access_bits": 8}, ConfigError, "32 to 64"),
        ({"batch_size": 0}, InputError, "batch_size"),
    ],
)
def test_bad_options(options: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        profile(two_layers(), images(2), **options)


def test_bad_inputs() -> None:
    with pytest.raises(InputError, match="encode the samples"):
        profile(two_layers(timesteps=2), images(2)[0, 0])
    with pytest.raises(InputError, match="iterable of arrays"):
        profile(two_layers(), 3)
    with pytest.raises(InputError, match="one number of timesteps"):
        profile(two_layers(timesteps=2), [images(2, 2), images(2, 3)])
    with pytest.raises(UnknownNameError, match="compute-only/dense"):
        profile(two_layers(), images(2)).estimate("compute-only", "denser")


def test_two_digits_and_no_more() -> None:
    assert joules(1234.0) == "1.2 nJ"
    assert joules(99.6) == "100 pJ"
    assert joules(2.34e13) == "23 J"
