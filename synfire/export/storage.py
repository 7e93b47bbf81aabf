"""A SpikeGraph on disk: ``graph.json`` (schema, checksum) beside ``weights.safetensors``. No torch needed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from synfire.core.errors import GraphError, RunExistsError
from synfire.core.files import folder_atomic, write_json
from synfire.export.graph import Edge, Node, SpikeGraph

SCHEMA = 1
GRAPH, WEIGHTS = "graph.json", "weights.safetensors"


def save_graph(graph: SpikeGraph, folder: Path | str, overwrite: bool = False) -> Path:
    """Write the two files into ``folder``; a folder with a graph in it is refused without ``overwrite``."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        if not (folder / GRAPH).exists():
            raise RunExistsError(
                f"{folder} holds other files than a graph: name an empty or new folder."
            )
        if not overwrite:
            raise RunExistsError(
                f"{folder} holds a graph already: name another folder, or overwrite=True."
            )
    graph.validate()
    with folder_atomic(folder) as temporary:
        tensors = {
            f"{node.name}/{key}": np.asarray(array, order="C")
            for node in graph
            for key, array in node.weights.items()
        }
        save_file(tensors, temporary / WEIGHTS)
        content = {
            "format": "synfire-graph",
            "schema": SCHEMA,
            "timesteps": graph.timesteps,
            "meta": graph.meta,
            "weights": {"file": WEIGHTS, "sha256": _checksum(temporary / WEIGHTS)},
            "nodes": [_node_to_json(node) for node in graph],
        }
        write_json(temporary / GRAPH, content)
    return folder


def _node_to_json(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.op,
        "inputs": list(node.inputs),
        "shape": list(node.shape),
        "edge": asdict(node.edge),
        "path": node.path,
        "attrs": node.attrs,
        "weights": sorted(node.weights),
    }


def load_graph(folder: Path | str) -> SpikeGraph:
    """Read and check a saved graph."""
    folder = Path(folder)
    content = _read_json(folder)
    tensors = _read_weights(folder, content)
    try:
        nodes = [_node_from_json(record, tensors) for record in content["nodes"]]
        return SpikeGraph(nodes, timesteps=content["timesteps"], meta=content["meta"])
    except (KeyError, TypeError, AttributeError) as error:
        raise GraphError(
            f"{folder / GRAPH} is damaged: {error!r}; export the graph again."
        ) from error


def _node_from_json(record: dict[str, Any], tensors: dict[str, np.ndarray]) -> Node:
    return Node(
        name=record["name"],
        op=record["op"],
        inputs=tuple(record["inputs"]),
        shape=tuple(record["shape"]),
        edge=Edge(**record["edge"]),
        path=record["path"],
        attrs=record["attrs"],
        weights={key: tensors[f"{record['name']}/{key}"] for key in record["weights"]},
    )


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / GRAPH
    if not path.is_file():
        raise GraphError(f"expected a saved graph in {folder}, but it has no {GRAPH}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise GraphError(f"{path} is damaged (no valid JSON): export the graph again.") from error
    if not isinstance(content, dict) or content.get("format") != "synfire-graph":
        raise GraphError(f"{path} is not the description of a SpikeGraph.")
    if content.get("schema") != SCHEMA:
        raise GraphError(
            f"{path} has schema {content.get('schema')}, this version reads {SCHEMA}: "
            "use the version of synfire that wrote it, or export again."
        )
    return content


def _read_weights(folder: Path, content: dict[str, Any]) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    path = folder / WEIGHTS
    if not path.is_file():
        raise GraphError(f"expected {WEIGHTS} beside {GRAPH} in {folder}: export the graph again.")
    if _checksum(path) != content.get("weights", {}).get("sha256"):
        raise GraphError(
            f"{path} does not match its checksum in {GRAPH}: it is damaged, export again."
        )
    tensors: dict[str, np.ndarray] = load_file(path)
    return tensors


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
