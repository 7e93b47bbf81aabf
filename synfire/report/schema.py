"""What ``write_report`` takes: one plain dict, which commands keep as ``results.json``.

Every section is optional and appears on the page exactly if its key is there. Values are what JSON
holds: numbers, strings, lists, dicts; arrays are given as lists (``array.tolist()``). Shares are in
[0, 1], energies in picojoules.

=============  ======================================================================
key            section
=============  ======================================================================
``run``        title and facts of the run (:class:`Run`)
``accuracy``   right answers on the test set, several seeds, baselines (:class:`Accuracy`)
``confusion``  confusion matrix (:class:`Confusion`)
``learning``   learning curve (:class:`Learning`)
``tradeoff``   accuracy against operations (:class:`Tradeoff`)
``activity``   spike raster and firing rates (:class:`Activity`)
``equality``   the module, the integer graph and binary slots compared (:class:`Equality`)
``energy``     ``EnergyReport.to_dict()``, as it is
``files``      files that the run wrote (list of :class:`WrittenFile`)
=============  ======================================================================

A class whose name starts with an underscore holds the keys that its section needs; the class below
it adds those that may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from synfire.core.errors import ConfigError, UnknownNameError


class _Run(TypedDict):
    title: str
    model: str
    timesteps: int
    levels: int


class Run(_Run, total=False):
    """Facts at the top of the page. ``shown`` adds rows in order: label to text or number."""

    subtitle: str
    recipe: str
    parameters: int
    seeds: list[int]
    data: str
    train_samples: int
    test_samples: int
    seconds: float
    created: str
    command: str
    versions: dict[str, str]
    shown: dict[str, str | int | float]


class _Score(TypedDict):
    name: str
    correct: int
    total: int


class Score(_Score, total=False):
    """Right answers of one net: a seed ("seed 1") or a baseline ("linear classifier")."""

    note: str


class _Accuracy(TypedDict):
    correct: int
    total: int


class Accuracy(_Accuracy, total=False):
    """Right answers of the net that the run ships. ``split`` says which samples were tested."""

    split: str
    seeds: list[Score]
    baselines: list[Score]


class Confusion(TypedDict):
    """``matrix[i][j]``: test samples of class i that were taken for class j."""

    labels: list[str]
    matrix: list[list[int]]


class Curve(TypedDict):
    """One line of a plot; a value that was not measured is None."""

    name: str
    values: list[float | None]


class _Learning(TypedDict):
    epochs: list[float]


class Learning(_Learning, total=False):
    """Curves over ``epochs``. ``accuracy`` in [0, 1]; ``operations``: synaptic ones an image."""

    loss: list[Curve]
    accuracy: list[Curve]
    operations: list[Curve]


class _Point(TypedDict):
    name: str
    operations: float
    correct: int
    total: int


class Point(_Point, total=False):
    """One net: operations per image and right answers. ``group`` colours, ``shipped`` marks it."""

    group: str
    shipped: bool


class Tradeoff(TypedDict):
    """``unit`` says what an operation is, such as "synaptic operations (unit spikes) per image"."""

    unit: str
    points: list[Point]


class _LayerActivity(TypedDict):
    name: str
    neurons: int
    rate: float
    nonzero: float


class LayerActivity(_LayerActivity, total=False):
    """``rate``: mean count per neuron per timestep; ``low``, ``high``: its 5th and 95th percentile
    over samples; ``nonzero``: share of neurons and timesteps with a count above 0."""

    low: float
    high: float


class RasterLayer(TypedDict):
    """Counts of some neurons, ``counts[sample][timestep][neuron]``; ``neurons``: flat indices."""

    name: str
    neurons: list[int]
    counts: list[list[list[int]]]


class Raster(TypedDict):
    """Samples one after the other; ``samples`` names each of them ("7", or "7 taken for 1")."""

    levels: int
    samples: list[str]
    layers: list[RasterLayer]


class Activity(TypedDict, total=False):
    """How much the layers fire. ``samples``: number of samples that the rates are measured on."""

    samples: int
    layers: list[LayerActivity]
    raster: Raster


class _Comparison(TypedDict):
    left: str
    right: str
    exact: bool
    neurons: int
    flips: int
    predictions: int
    predictions_equal: int
    logit_difference: float


class Comparison(_Comparison, total=False):
    """Two ways to run the net on the same samples.

    ``left``, ``right``: "module", "integer graph", "binary slots", ... ``neurons``: counts compared
    (neurons x timesteps x samples); ``flips``: those that differ; ``predictions_equal`` of
    ``predictions``; ``logit_difference``: the largest one. ``note``: the number type, or why flips
    occur.
    """

    note: str


class _Equality(TypedDict):
    comparisons: list[Comparison]


class Equality(_Equality, total=False):
    """``first_difference``: a sentence on the first neuron that differs (path, membrane, distance
    to threshold), or None."""

    samples: int
    first_difference: str | None


class _WrittenFile(TypedDict):
    path: str
    what: str


class WrittenFile(_WrittenFile, total=False):
    """``path`` is relative to the report's folder."""

    bytes: int


class Results(TypedDict, total=False):
    """The whole dict."""

    run: Run
    accuracy: Accuracy
    confusion: Confusion
    learning: Learning
    tradeoff: Tradeoff
    activity: Activity
    equality: Equality
    energy: dict[str, Any]
    files: list[WrittenFile]


_SECTIONS: dict[str, Any] = {
    "run": Run,
    "accuracy": Accuracy,
    "confusion": Confusion,
    "learning": Learning,
    "tradeoff": Tradeoff,
    "activity": Activity,
    "equality": Equality,
    "energy": None,
    "files": WrittenFile,
}


def check(results: Mapping[str, Any]) -> None:
    """Raise UnknownNameError for an unknown section, ConfigError for one that lacks a key."""
    for name, section in results.items():
        if name not in _SECTIONS:
            raise UnknownNameError("report section", name, _SECTIONS)
        schema = _SECTIONS[name]
        entries = section if name == "files" else [section]
        for entry in entries if schema is not None else []:
            missing = sorted(schema.__required_keys__ - set(entry))
            if missing:
                raise ConfigError(
                    f"the report section {name!r} needs {', '.join(missing)}; it holds "
                    f"{', '.join(sorted(entry)) or 'nothing'}: see synfire.report.schema."
                )
