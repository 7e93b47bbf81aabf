"""The graph format: validation, storage and its errors, fan-out, input checks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from synfire.core.errors import GraphError, InputError, RunExistsError
from synfire.export import Edge, Node, SpikeGraph


def tiny() -> SpikeGraph:
    weight = np.array([[1.0, 2.0]], np.float32)
    return SpikeGraph(
        [
            Node("x", "Source", (), (2,), Edge("real")),
            Node("fc", "Linear", ("x",), (1,), Edge("potential"), weights={"weight": weight}),
            Node("mean", "TimeMean", ("fc",), (1,), Edge("potential"), attrs={"kind": "mean"}),
            Node("out", "Sink", ("mean",), (1,), Edge("potential"), attrs={"scale": 1.0}),
        ],
        timesteps=2,
        meta={"model": "tiny"},
    )


def test_round_trip_keeps_everything(tmp_path):
    graph = tiny()
    loaded = SpikeGraph.load(graph.save(tmp_path / "g"))
    assert sorted(p.name for p in (tmp_path / "g").iterdir()) == [
        "graph.json",
        "weights.safetensors",
    ]
    assert (loaded.timesteps, loaded.meta, loaded.readout) == (2, {"model": "tiny"}, "mean")
    for before, after in zip(graph, loaded, strict=True):
        assert (before.name, before.op, before.inputs, before.shape, before.edge, before.attrs) == (
            after.name, after.op, after.inputs, after.shape, after.edge, after.attrs,
        )  # fmt: skip
    np.testing.assert_array_equal(loaded["fc"].weights["weight"], graph["fc"].weights["weight"])
    assert loaded.run(np.ones((2, 1, 2), np.float32)).tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.nodes.append(g.nodes[1]), "stands twice"),
        (lambda g: setattr(g.nodes[1], "op", "Magic"), "unknown operator 'Magic'"),
        (lambda g: setattr(g.nodes[1], "inputs", ("nowhere",)), "reads 'nowhere'"),
        (lambda g: setattr(g.nodes[1], "inputs", ("mean",)), "reads 'mean'"),
        (lambda g: g.nodes[1].weights["weight"].fill(np.nan), "is not finite"),
        (lambda g: g.nodes.pop(), "exactly one Sink"),
        (lambda g: setattr(g, "timesteps", 0), "at least one timestep"),
        (lambda g: setattr(g.nodes[1], "edge", Edge("smoke")), "unknown kind 'smoke'"),
    ],
)
def test_an_inconsistent_graph_is_refused_and_not_written(tmp_path, change, message):
    graph = tiny()
    change(graph)
    with pytest.raises(GraphError, match=message):
        graph.save(tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_saving_over_a_graph_needs_to_be_asked_for(tmp_path):
    tiny().save(tmp_path / "g")
    with pytest.raises(RunExistsError, match="holds a graph already"):
        tiny().save(tmp_path / "g")
    tiny().save(tmp_path / "g", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunExistsError, match="other files"):
        tiny().save(tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g", "other"]


def rewrite(folder, **changes):
    content = json.loads((folder / "graph.json").read_text())
    (folder / "graph.json").write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "graph.json").unlink(), "has no graph.json"),
        (lambda f: (f / "graph.json").write_text("{"), "no valid JSON"),
        (lambda f: (f / "graph.json").write_text("[]"), "not the description"),
        (lambda f: (f / "weights.safetensors").unlink(), "expected weights.safetensors"),
        (
            lambda f: (f / "weights.safetensors").write_bytes(b"short"),
            "does not match its checksum",
        ),
        (lambda f: rewrite(f, schema=99), "has schema 99"),
        (lambda f: rewrite(f, nodes=[{"name": "x"}]), "is damaged"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    folder = tiny().save(tmp_path / "g")
    damage(folder)
    with pytest.raises(GraphError, match=message):
        SpikeGraph.load(folder)


def test_inputs_are_checked():
    graph = tiny()
    with pytest.raises(InputError, match=r"expected a timed input \[T, B, 2\]"):
        graph.run(np.ones((1, 1, 3), np.float32))
    with pytest.raises(InputError, match="NaN"):
        graph.run(np.full((1, 1, 2), np.nan, np.float32))
    with pytest.raises(InputError, match="mode"):
        graph.run(np.ones((1, 1, 2), np.float32), mode="analog")
    with pytest.raises(GraphError, match="T = 0"):
        graph.run(np.ones((0, 1, 2), np.float32))
    assert graph.run(np.ones((1, 0, 2), np.float32)).shape == (0, 1)


def test_str_names_every_node():
    text = str(tiny())
    assert text.splitlines()[0] == "SpikeGraph, 4 nodes, T=2, readout mean"
    assert "fc: Linear(x) -> [1] potential" in text
