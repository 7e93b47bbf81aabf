"""What the template shows: each section of the results as ready texts, tables and figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synfire.energy.summary import si
from synfire.report import figures
from synfire.report.blocks import Part, Section, Table, Tile, duration, percent, size
from synfire.report.energy_section import energy_section, energy_tiles
from synfire.report.schema import Accuracy, Comparison, Confusion, Results, Run
from synfire.report.statistics import mean_and_deviation, wilson


def facts(run: Run) -> list[tuple[str, str]]:
    """Label and text of every fact that is known."""
    rows: list[tuple[str, Any]] = [("Model", run["model"])]
    if "parameters" in run:
        rows.append(("Parameters", f"{run['parameters']:,}"))
    rows.append(("Timesteps and levels", f"T = {run['timesteps']}, D = {run['levels']}"))
    rows += [("Recipe", run.get("recipe")), ("Data", run.get("data"))]
    if "train_samples" in run and "test_samples" in run:
        rows.append(("Samples", f"{run['train_samples']:,} training, {run['test_samples']:,} test"))
    if run.get("seeds"):
        label = "Seed" if len(run["seeds"]) == 1 else "Seeds"
        rows.append((label, ", ".join(map(str, run["seeds"]))))
    if "seconds" in run:
        rows.append(("Time", duration(run["seconds"])))
    rows += [("Written", run.get("created")), ("Command", run.get("command"))]
    if run.get("versions"):
        rows.append(("Versions", ", ".join(f"{k} {v}" for k, v in run["versions"].items())))
    rows += list(run.get("shown", {}).items())
    return [(label, str(text)) for label, text in rows if text is not None]


def tiles(results: Results) -> list[Tile]:
    """The figures at the head of the page."""
    found = []
    if "accuracy" in results:
        section = results["accuracy"]
        low, high = wilson(section["correct"], section["total"])
        share = percent(section["correct"] / section["total"])
        found.append(Tile("Accuracy", share, f"95 %: {percent(low)} to {percent(high)}"))
    if results.get("equality", {}).get("comparisons"):
        rows = results["equality"]["comparisons"]
        exact = all(row["exact"] for row in rows)
        equal = min(row["predictions_equal"] for row in rows)
        total = max(row["predictions"] for row in rows)
        found.append(
            Tile(
                "Spike equality",
                "equal" if exact else f"{sum(row['flips'] for row in rows):,} flips",
                f"{equal:,} of {total:,} predictions equal",
            )
        )
    if results.get("energy"):
        found += energy_tiles(results["energy"])
    return found


def sections(results: Results) -> list[Section]:
    """Those sections that the results hold, in the order of the page."""
    content: Any = results
    return [build(content[name]) for name, build in _BUILDERS.items() if content.get(name)]


def _accuracy(section: Accuracy) -> Section:
    correct, total = section["correct"], section["total"]
    low, high = wilson(correct, total)
    lead = (
        f"{correct:,} of {total:,} right: {percent(correct / total)} "
        f"(95 % interval {percent(low)} to {percent(high)})"
    )
    lead += f", {section['split']}." if section.get("split") else "."
    seeds, baselines = section.get("seeds", []), section.get("baselines", [])
    if len(seeds) > 1:
        mean, deviation = mean_and_deviation([seed["correct"] / seed["total"] for seed in seeds])
        lead += (
            f" Over {len(seeds)} seeds: {percent(mean)} on average, standard deviation "
            f"{100 * deviation:.2f} points."
        )
    rows = [_score("this net", correct, total, "")]
    rows += [
        _score(s["name"], s["correct"], s["total"], s.get("note", "")) for s in (*seeds, *baselines)
    ]
    table = Table(
        ("net", "right", "accuracy", "95 % interval", "note"), rows, "Accuracy", (0,), ("note",)
    )
    parts = [Part(figure=figures.accuracy(section))] if seeds or baselines else []
    return Section("accuracy", "Accuracy", lead, [*parts, Part(table=table)])


def _score(name: str, correct: int, total: int, note: str) -> tuple[str, ...]:
    low, high = wilson(correct, total)
    interval = f"{percent(low)} to {percent(high)}"
    return name, f"{correct:,} / {total:,}", percent(correct / total), interval, note


def _confusion(section: Confusion) -> Section:
    labels, matrix = section["labels"], section["matrix"]
    pairs = [
        (matrix[i][j], labels[i], labels[j])
        for i in range(len(labels))
        for j in range(len(labels))
        if i != j and matrix[i][j]
    ]
    most = sorted(pairs, key=lambda pair: -pair[0])[:4]
    named = ", ".join(f"{true} for {taken} ({count})" for count, true, taken in most)
    wrong = sum(count for count, _, _ in pairs)
    lead = (
        f"Taken most often: {named}. {wrong:,} wrong in all."
        if most
        else "No sample was taken wrongly."
    )
    return Section("confusion", "Confusion", lead, [Part(figure=figures.confusion(section))])


def _learning(section: Any) -> Section:
    lead = f"{len(section['epochs'])} epochs."
    last = [
        f"{curve['name']} {percent(curve['values'][-1])}"
        for curve in section.get("accuracy", [])
        if curve["values"] and curve["values"][-1] is not None
    ]
    if last:
        lead += f" Accuracy after the last: {', '.join(last)}."
    return Section("learning", "Learning curve", lead, [Part(figure=figures.learning(section))])


def _tradeoff(section: Any) -> Section:
    rows = [
        (
            point["name"],
            si(point["operations"]),
            percent(point["correct"] / point["total"]),
            point.get("group", ""),
        )
        for point in section["points"]
    ]
    marked = [i for i, point in enumerate(section["points"]) if point.get("shipped")]
    table = Table(
        ("net", "operations", "accuracy", "group"),
        rows,
        "Accuracy and operations",
        marked,
        ("group",),
    )
    lead = f"What accuracy costs, in {section['unit']}."
    parts = [Part(figure=figures.tradeoff(section)), Part(table=table)]
    return Section("tradeoff", "Accuracy against operations", lead, parts)


def _activity(section: Any) -> Section:
    parts = []
    lead = "How the net fires."
    layers = section.get("layers", [])
    if layers:
        neurons = sum(row["neurons"] for row in layers)
        rate = sum(row["rate"] * row["neurons"] for row in layers) / neurons
        share = sum(row["nonzero"] * row["neurons"] for row in layers) / neurons
        lead = (
            f"{neurons:,} neurons send a mean count of {rate:.3f} per timestep; {percent(share, 1)} "
            "of their counts are above zero"
        )
        lead += f", over {section['samples']:,} samples." if section.get("samples") else "."
    if section.get("raster"):
        parts.append(Part(figure=figures.raster(section["raster"])))
    if layers:
        parts.append(Part(figure=figures.rates(section)))
    return Section("activity", "Spikes", lead, parts)


def _equality(section: Any) -> Section:
    rows = section["comparisons"]
    exact = all(row["exact"] for row in rows)
    samples = f" on {section['samples']:,} samples" if section.get("samples") else ""
    lead = f"Every neuron sends the same count and every prediction is the same{samples}."
    if not exact:
        worst = max(rows, key=lambda row: row["flips"])
        equal = min(rows, key=lambda row: row["predictions_equal"])
        lead = (
            f"{equal['predictions_equal']:,} of {equal['predictions']:,} predictions are equal; at "
            f"most {worst['flips']:,} of {worst['neurons']:,} counts differ{samples}."
        )
    header = (
        "compared",
        "result",
        "counts",
        "flips",
        "predictions equal",
        "logits differ by",
        "note",
    )
    table = Table(header, [_comparison(row) for row in rows], "Equality", (), ("result", "note"))
    parts = [Part(table=table)]
    if section.get("first_difference"):
        parts.append(Part(note=f"First difference: {section['first_difference']}"))
    return Section("equality", "Integers and spikes compared", lead, parts)


def _comparison(row: Comparison) -> tuple[str, ...]:
    return (
        f"{row['left']} and {row['right']}",
        "exact" if row["exact"] else "differs",
        f"{row['neurons']:,}",
        f"{row['flips']:,}",
        f"{row['predictions_equal']:,} / {row['predictions']:,}",
        f"{row['logit_difference']:.2g}",
        row.get("note", ""),
    )


def _files(entries: Any) -> Section:
    rows = [
        (row["path"], row["what"], size(row["bytes"]) if "bytes" in row else "") for row in entries
    ]
    table = Table(("file", "what it holds", "size"), rows, "Files", (), ("what it holds",))
    lead = "Beside this page; paths are relative to its folder."
    return Section("files", "Files", lead, [Part(table=table)])


_BUILDERS: dict[str, Callable[[Any], Section]] = {
    "accuracy": _accuracy,
    "confusion": _confusion,
    "learning": _learning,
    "tradeoff": _tradeoff,
    "activity": _activity,
    "equality": _equality,
    "energy": energy_section,
    "files": _files,
}
