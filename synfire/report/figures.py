"""The figures of a report, each made from one section of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synfire.core.optional import require
from synfire.energy.summary import joules, si
from synfire.report.drawing import ACCENT, INK, LINE, MUTED, PAPER, Figure, draw
from synfire.report.schema import Accuracy, Activity, Confusion, Curve, Learning, Raster, Tradeoff
from synfire.report.statistics import wilson

_LINES = ((ACCENT, "-"), (INK, "-"), (MUTED, "--"), (MUTED, ":"), (INK, "-."))
_MARKERS = "osD^v"
_MOST_CELLS = 12


def accuracy(section: Accuracy) -> Figure:
    """Share of right answers with intervals: this net, its seeds, the baselines."""
    rows = [("this net", section["correct"], section["total"], True)]
    rows += [(s["name"], s["correct"], s["total"], True) for s in section.get("seeds", [])]
    rows += [(s["name"], s["correct"], s["total"], False) for s in section.get("baselines", [])]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for place, (name, correct, total, ours) in enumerate(reversed(rows)):
            low, high = (100 * bound for bound in wilson(correct, total))
            colour = ACCENT if ours else MUTED
            axes.plot([low, high], [place, place], color=colour, linewidth=1.2)
            axes.plot(100 * correct / total, place, "o", color=colour, markersize=5)
            _label(axes, place + 0.2, name, f"{100 * correct / total:.2f} %")
        axes.set(yticks=[], ylim=(-0.5, len(rows) - 0.2), xlabel="right answers (%)")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")

    shares = ", ".join(f"{name} {100 * c / t:.2f} %" for name, c, t, _ in rows)
    return draw(
        "accuracy",
        0.6 + 0.36 * len(rows),
        f"Accuracy with 95 % intervals: {shares}.",
        "Share of right answers on the test set; lines are 95 % Wilson intervals.",
        paint,
    )


def confusion(section: Confusion) -> Figure:
    """Rows are true classes, columns predictions; shade is the share of the row."""
    labels, matrix = section["labels"], section["matrix"]
    size = len(labels)
    wrong = sum(map(sum, matrix)) - sum(matrix[i][i] for i in range(size))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        patches = require("matplotlib.patches", "train")
        for row in range(size):
            total = sum(matrix[row]) or 1
            for column in range(size):
                count = matrix[row][column]
                if not count:
                    continue
                share = (count / total) ** 0.5
                axes.add_patch(
                    patches.Rectangle(
                        (column + 0.03, row + 0.03),
                        0.94,
                        0.94,
                        color=ACCENT,
                        alpha=0.14 + 0.81 * share,
                        linewidth=0,
                    )
                )
                if size <= _MOST_CELLS:
                    axes.text(
                        column + 0.5,
                        row + 0.52,
                        str(count),
                        ha="center",
                        va="center",
                        fontsize=7 if count < 1000 else 6,
                        color=PAPER if share > 0.6 else INK,
                    )
        every = max(1, size // 12)
        places = [i + 0.5 for i in range(0, size, every)]
        axes.set(xlim=(0, size), ylim=(size, 0), aspect="equal", xlabel="taken for", ylabel="is")
        axes.set_xticks(places, labels[::every], rotation=90 if _long(labels) else 0)
        axes.set_yticks(places, labels[::every])
        axes.tick_params(length=0)
        axes.spines[["top", "right"]].set_visible(True)

    return draw(
        "confusion",
        3.9,
        f"Confusion matrix of {size} classes; {wrong} of {sum(map(sum, matrix))} samples lie off its diagonal.",
        "Rows are the true classes, columns the answers; darker means a larger share of the row.",
        paint,
    )


def _long(labels: Sequence[str]) -> bool:
    return max(map(len, labels)) > 2


def learning(section: Learning) -> Figure:
    """Panels for loss, accuracy and operations over epochs, those that there are."""
    panels: list[tuple[str, list[Curve], float]] = []
    if section.get("loss"):
        panels.append(("loss", section["loss"], 1.0))
    if section.get("accuracy"):
        panels.append(("right answers (%)", section["accuracy"], 100.0))
    if section.get("operations"):
        panels.append(("synaptic operations per image", section["operations"], 1.0))
    epochs = section["epochs"]

    def paint(figure: Any) -> None:
        ticker = require("matplotlib.ticker", "train")
        all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, (title, curves, factor) in zip(all_axes, panels, strict=True):
            for curve, (colour, style) in zip(curves, _LINES * len(curves), strict=False):
                values = [float("nan") if v is None else factor * v for v in curve["values"]]
                axes.plot(epochs, values, color=colour, linestyle=style, label=curve["name"])
            axes.set_title(title if len(curves) > 1 else f"{title}, {curves[0]['name']}")
            axes.grid(axis="y")
            if len(curves) > 1:
                axes.legend(loc="best")
            if factor == 1.0:
                axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: si(value)))
        all_axes[-1].set_xlabel("epoch")

    last = "; ".join(
        f"{curve['name']} ends at {si(factor * curve['values'][-1])}"
        for _, curves, factor in panels
        for curve in curves
        if curve["values"] and curve["values"][-1] is not None
    )
    return draw(
        "learning",
        0.5 + 1.6 * len(panels),
        f"Learning curves over {len(epochs)} epochs: {last}.",
        "What training and validation gave after each epoch.",
        paint,
    )


def tradeoff(section: Tradeoff) -> Figure:
    """Accuracy against operations; further up and to the left is better."""
    points = section["points"]
    groups = list(dict.fromkeys(point.get("group", "") for point in points))
    operations = [point["operations"] for point in points]
    wide = min(operations) > 0 and max(operations) > 8 * min(operations)

    def paint(figure: Any) -> None:
        ticker = require("matplotlib.ticker", "train")
        axes = figure.subplots()
        for point in sorted(points, key=lambda p: p.get("shipped", False)):  # on top
            shipped = point.get("shipped", False)
            share = 100 * point["correct"] / point["total"]
            low, high = (100 * bound for bound in wilson(point["correct"], point["total"]))
            colour = ACCENT if shipped else MUTED
            axes.plot([point["operations"]] * 2, [low, high], color=colour, linewidth=0.9)
            axes.plot(
                point["operations"],
                share,
                _MARKERS[groups.index(point.get("group", "")) % len(_MARKERS)],
                color=colour,
                markerfacecolor=ACCENT if shipped else PAPER,
                markersize=6,
            )
        axes.set_xscale("log" if wide else "linear")
        axes.margins(x=0.25, y=0.12)
        if not wide:
            axes.set_xlim(left=0)
        _label_points(axes, points)
        axes.set(xlabel=section["unit"], ylabel="right answers (%)")
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: si(value)))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.grid()
        if len(groups) > 1:
            for index, group in enumerate(groups):
                axes.plot([], [], _MARKERS[index % len(_MARKERS)], color=MUTED, label=group)
            axes.legend(loc="lower right")

    text = "; ".join(
        f"{p['name']}: {100 * p['correct'] / p['total']:.2f} % at {si(p['operations'])}"
        for p in points
    )
    return draw(
        "tradeoff",
        3.1,
        f"Accuracy against operations. {text}.",
        "Further up and to the left is better. Lines are 95 % Wilson intervals; the filled point is this net.",
        paint,
    )


def _label_points(axes: Any, points: Sequence[Any]) -> None:
    """Names beside their points: to the side where there is room, above and below in turn."""
    ordered = sorted(points, key=lambda point: point["operations"])
    for index, point in enumerate(ordered):
        left = index >= len(points) / 2
        axes.annotate(
            point["name"],
            (point["operations"], 100 * point["correct"] / point["total"]),
            (-7 if left else 7, -11 if index % 2 else 4),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=7.5,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        )


def _label(axes: Any, place: float, name: str, figure: str = "") -> None:
    """A row's name at the left edge, its figure at the right."""
    across = axes.get_yaxis_transform()
    axes.text(0, place, name, transform=across, fontsize=7.5, va="bottom")
    axes.text(
        1, place, figure, transform=across, fontsize=7.5, va="bottom", ha="right", color=MUTED
    )


def rates(section: Activity) -> Figure:
    """Mean count of each layer with its spread over samples."""
    rows = section["layers"]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        largest = max(max(row["rate"], row.get("high", 0.0)) for row in rows) or 1.0
        for place, row in enumerate(reversed(rows)):
            axes.barh(place, row["rate"], height=0.42, color=ACCENT, alpha=0.85)
            if "low" in row and "high" in row:
                axes.plot([row["low"], row["high"]], [place, place], color=INK, linewidth=1)
            share = f"{row['rate']:.3f} ({100 * row['nonzero']:.1f} % above 0)"
            _label(axes, place + 0.26, row["name"], share)
        axes.set(yticks=[], ylim=(-0.5, len(rows) - 0.1), xlim=(0, 1.05 * largest))
        axes.set_xlabel("mean count per neuron per timestep")
        axes.spines["left"].set_visible(False)

    text = "; ".join(f"{row['name']} {row['rate']:.3f}" for row in rows)
    return draw(
        "rates",
        0.6 + 0.36 * len(rows),
        f"Mean count per neuron per timestep: {text}.",
        "Mean count per neuron per timestep, and the share of counts above zero. Lines span the 5th "
        "to the 95th percentile of samples.",
        paint,
    )


def raster(section: Raster) -> Figure:
    """One mark for each unit spike: a count c fires in the first c of its D slots."""
    samples, levels, layers = section["samples"], section["levels"], section["layers"]
    timesteps = max(len(sample) for layer in layers for sample in layer["counts"])
    width = timesteps * levels

    def paint(figure: Any) -> None:
        heights = [max(0.35, min(1.0, len(layer["neurons"]) / 40)) for layer in layers]
        all_axes = figure.subplots(
            len(layers), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )[:, 0]
        for axes, layer in zip(all_axes, layers, strict=True):
            _raster_marks(axes, layer["counts"], levels, width)
            axes.set(xlim=(0, width * len(samples)), ylim=(len(layer["neurons"]), 0), yticks=[])
            axes.set_title(layer["name"], fontsize=7.5, pad=2)
            for border in range(1, len(samples)):
                axes.axvline(border * width, color=LINE, linewidth=0.8)
            axes.tick_params(length=0)
            axes.spines[["top", "right"]].set_visible(True)
        places = [(i + 0.5) * width for i in range(len(samples))]
        names = [name.replace(" taken for ", "\ntaken for\n") for name in samples]
        all_axes[-1].set_xticks(places, names, fontsize=7 if len(samples) > 8 else 8)
        all_axes[-1].set_xlabel(f"sample, {width} slots each")

    spikes = sum(
        c for layer in layers for sample in layer["counts"] for step in sample for c in step
    )
    shown = sum(len(layer["neurons"]) for layer in layers)
    slots = f"{timesteps} x {levels} slots" if timesteps > 1 else f"{levels} slots"
    return draw(
        "raster",
        0.6 + 0.68 * len(layers),
        f"Spike raster of {shown} neurons in {len(layers)} layers over {len(samples)} samples: "
        f"{spikes} unit spikes.",
        f"Each mark is one spike of one neuron (rows); samples stand side by side, {slots} each. A "
        "count c fires in the first c slots of its timestep.",
        paint,
    )


def _raster_marks(axes: Any, counts: list[list[list[int]]], levels: int, width: int) -> None:
    paths = require("matplotlib.path", "train")
    patches = require("matplotlib.patches", "train")
    vertices: list[tuple[float, float]] = []
    for index, sample in enumerate(counts):
        for timestep, row in enumerate(sample):
            start = index * width + timestep * levels
            for neuron, count in enumerate(row):
                if count:  # neighbouring slots join into one stroke with gaps left between
                    vertices += [
                        (start + slot + edge, neuron + 0.5)
                        for slot in range(count)
                        for edge in (0.15, 0.85)
                    ]
    if not vertices:
        return
    codes = [paths.Path.MOVETO, paths.Path.LINETO] * (len(vertices) // 2)
    thickness = min(1.8, max(0.5, 24 / len(counts[0][0])))
    axes.add_patch(
        patches.PathPatch(
            paths.Path(vertices, codes), fill=False, edgecolor=ACCENT, linewidth=thickness
        )
    )


_ARITHMETIC = ("analog layers", "synapses", "biases", "neurons", "other arithmetic")
_PARTS = (("arithmetic", 1.0), ("memory", 0.5), ("addressing", 0.22))


def energy(rows: dict[str, list[dict[str, Any]]], names: dict[str, str], precision: str) -> Figure:
    """Estimates of both models as stacked bars with their intervals; ``rows`` by model."""

    def paint(figure: Any) -> None:
        patches = require("matplotlib.patches", "train")
        ticker = require("matplotlib.ticker", "train")
        figure.get_layout_engine().set(h_pad=0.1)
        all_axes = figure.subplots(len(rows), squeeze=False)[:, 0]
        for axes, (model, estimates) in zip(all_axes, rows.items(), strict=True):
            for place, row in enumerate(reversed(estimates)):
                start = 0.0
                for part, amount in _parts(row["breakdown"]).items():
                    axes.barh(
                        place, amount, 0.4, left=start, color=ACCENT, alpha=dict(_PARTS)[part]
                    )
                    start += amount
                axes.plot([row["low"], row["high"]], [place] * 2, color=INK, linewidth=1)
                _label(axes, place + 0.24, names[row["net"]], joules(row["pj"]))
            axes.set(yticks=[], ylim=(-0.5, len(estimates) - 0.05))
            axes.set_title(f"{model}, {precision}", pad=6)
            axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: joules(value)))
            axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
            axes.set_xlim(0, 1.02 * max(row["high"] for row in estimates))
            axes.spines["left"].set_visible(False)
        figure.legend(
            handles=[
                patches.Patch(color=ACCENT, alpha=shade, label=part) for part, shade in _PARTS
            ],
            loc="outside lower center",
            ncols=3,
        )

    text = "; ".join(
        f"{model}, {names[row['net']]}: {joules(row['pj'])}"
        for model, estimates in rows.items()
        for row in estimates
    )
    return draw(
        "energy",
        0.6 + 1.9 * len(rows),
        f"Estimated energy per image. {text}.",
        "Estimated energy per image; thin lines are intervals from samples and constants. The panels "
        "have different scales.",
        paint,
    )


def _parts(breakdown: dict[str, float]) -> dict[str, float]:
    parts = {part: 0.0 for part, _ in _PARTS}
    for term, amount in breakdown.items():
        if term == "addressing":
            parts["addressing"] += amount
        else:
            parts["arithmetic" if term in _ARITHMETIC else "memory"] += amount
    return parts
