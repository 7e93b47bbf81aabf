"""A mutable view of graph nodes for passes: who reads whom, replacing and dropping nodes."""

from __future__ import annotations

from collections.abc import Iterator

from synfire.export.graph import Node


class Draft:
    """Nodes of a graph under construction, by name and in order."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self.nodes.values()))

    def consumers(self, name: str) -> list[Node]:
        """Nodes that read ``name``, each once."""
        return [node for node in self.nodes.values() if name in node.inputs]

    def only_consumer(self, name: str) -> Node | None:
        """The node that alone reads ``name``, once."""
        readers = self.consumers(name)
        return readers[0] if len(readers) == 1 and readers[0].inputs.count(name) == 1 else None

    def producer(self, node: Node) -> Node:
        """The node whose value ``node`` reads first."""
        return self.nodes[node.inputs[0]]

    def bypass(self, node: Node) -> None:
        """Drop a one-input node; its readers read its input instead."""
        (source,) = node.inputs
        for reader in self.consumers(node.name):
            reader.inputs = tuple(source if name == node.name else name for name in reader.inputs)
        del self.nodes[node.name]

    def insert_before(self, reader: Node, index: int, node: Node) -> None:
        """Put ``node`` between ``reader`` and its input number ``index``."""
        inputs = list(reader.inputs)
        inputs[index] = node.name
        reader.inputs = tuple(inputs)
        ordered: dict[str, Node] = {}
        for name, existing in self.nodes.items():
            if name == reader.name:
                ordered[node.name] = node
            ordered[name] = existing
        self.nodes = ordered

    def free_name(self, base: str) -> str:
        """``base``, numbered if it is taken."""
        name, number = base, 1
        while name in self.nodes:
            number += 1
            name = f"{base}_{number}"
        return name

    def drop_unread(self) -> None:
        """Remove nodes whose value nobody reads, Sink aside."""
        while True:
            dead = [
                n.name
                for n in self
                if n.op not in ("Sink", "Source") and not self.consumers(n.name)
            ]
            if not dead:
                return
            for name in dead:
                del self.nodes[name]
