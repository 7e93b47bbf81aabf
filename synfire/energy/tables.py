"""Energy constants: data files with their source, read into one record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from synfire.core.errors import ConfigError, UnknownNameError

BOUNDS = ("low", "value", "high")


@dataclass(frozen=True)
class Precision:
    """What one accumulate (``ac``) and one multiply-accumulate (``mac``) cost, in pJ, with ranges.

    Attributes:
        name: fp32, fp16, int32, int8.
        weight_bits: width of a stored weight.
        number: ``float`` or ``integer``.
    """

    name: str
    ac: float
    mac: float
    ac_range: tuple[float, float]
    mac_range: tuple[float, float]
    weight_bits: int
    number: str
    note: str

    @property
    def ratio(self) -> float:
        """How many accumulates one multiply-accumulate costs."""
        return self.mac / self.ac

    def at(self, bound: str) -> tuple[float, float]:
        """(ac, mac) at the low end, the value or the high end of their ranges."""
        if bound == "value":
            return self.ac, self.mac
        index = ("low", "high").index(bound)
        return self.ac_range[index], self.mac_range[index]


@dataclass(frozen=True)
class Memory:
    """Energy of one memory access of ``access_bits`` by the size of the buffer, in pJ.

    Attributes:
        access_bits: width over which the tabulated energy is spread; the low end of costs takes the
            upper end of ``access_bits_range`` and the other way round.
        sram_pj: (bytes, pJ) points, ascending.
        dram_pj: lowest and highest energy of one DRAM access.
    """

    access_bits: int
    access_bits_range: tuple[int, int]
    sram_pj: tuple[tuple[float, float], ...]
    dram_pj: tuple[float, float]
    note: str

    @property
    def largest(self) -> float:
        """Bytes of the largest tabulated SRAM; larger buffers are priced like it."""
        return self.sram_pj[-1][0]

    def sram(self, buffer_bytes: float) -> float:
        """pJ of one access, linear between (0, 0) and the tabulated sizes, constant above the last.

        Example:
            >>> hardware("45nm").memory.sram(20 * 1024)
            15.0
        """
        sizes = [0.0, *(size for size, _ in self.sram_pj)]
        costs = [0.0, *(cost for _, cost in self.sram_pj)]
        return float(np.interp(buffer_bytes, sizes, costs))

    def per_bit(self, buffer_bytes: float, bound: str = "value") -> float:
        """pJ per bit moved, every bit of an access being used."""
        low, high = self.access_bits_range
        width = {"low": high, "value": self.access_bits, "high": low}[bound]
        return self.sram(buffer_bytes) / width


@dataclass(frozen=True)
class Hardware:
    """Constants of one technology, with where they come from.

    Attributes:
        kind: ``published`` figures of single operations, ``measured`` on a chip, ``simulated`` or
            ``derived``.
        operations_pj: energy of an add and a multiply by number type.
    """

    name: str
    technology: str
    year: int
    kind: str
    source: str
    note: str
    operations_pj: dict[str, dict[str, float]]
    precisions: dict[str, Precision]
    memory: Memory

    def precision(self, name: str) -> Precision:
        """A precision by name; an unknown one raises UnknownNameError."""
        if name not in self.precisions:
            raise UnknownNameError(f"precision of {self.name}", name, self.precisions)
        return self.precisions[name]


def hardware_names() -> list[str]:
    """Names of the tables that come with the package.

    Example:
        >>> hardware_names()
        ['45nm']
    """
    folder = files("synfire.energy") / "hardware"
    return sorted(
        f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json")
    )


def hardware(name: str) -> Hardware:
    """The constants of ``name``, all in picojoules; an unknown name raises UnknownNameError.

    Example:
        >>> table = hardware("45nm")
        >>> table.precision("fp32").mac, round(table.precision("fp32").ratio, 1)
        (4.6, 5.1)
    """
    if name not in hardware_names():
        raise UnknownNameError("hardware", name, hardware_names())
    text = (files("synfire.energy") / "hardware" / f"{name}.json").read_text(encoding="utf-8")
    return from_dict(json.loads(text))


def from_dict(table: dict[str, Any]) -> Hardware:
    """A table in the form of the package's data files: users may bring their own constants."""
    if table.get("schema") != 1:
        raise ConfigError(f"expected a hardware table of schema 1, got {table.get('schema')!r}.")
    memory = table["memory"]
    return Hardware(
        **{key: table[key] for key in ("name", "technology", "year", "kind", "source", "note")},
        operations_pj=table["operations_pj"],
        precisions={name: _precision(name, row) for name, row in table["precisions"].items()},
        memory=Memory(
            access_bits=memory["access_bits"],
            access_bits_range=tuple(memory["access_bits_range"]),
            sram_pj=tuple((size, cost) for size, cost in memory["sram_pj"]),
            dram_pj=tuple(memory["dram_pj"]),
            note=memory["note"],
        ),
    )


def _precision(name: str, row: dict[str, Any]) -> Precision:
    return Precision(
        name=name,
        ac=row["ac"],
        mac=row["mac"],
        ac_range=tuple(row.get("ac_range", (row["ac"], row["ac"]))),
        mac_range=tuple(row.get("mac_range", (row["mac"], row["mac"]))),
        weight_bits=row["weight_bits"],
        number=row["number"],
        note=row["note"],
    )
