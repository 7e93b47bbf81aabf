"""The section on operations and energy, from ``EnergyReport.to_dict()``."""

from __future__ import annotations

from typing import Any

from synfire.energy.pricing import MODELS
from synfire.energy.summary import NET_NAMES, joules, si, span
from synfire.report import figures
from synfire.report.blocks import Part, Section, Table, Tile, percent


def energy_tiles(energy: dict[str, Any]) -> list[Tile]:
    """Operations and estimated energy."""
    totals = energy["totals"]
    detail = "unit spikes reach synapses, per image"
    if totals["dense_macs"]:
        share = (totals["sop_unit"] + totals["macs"]) / totals["dense_macs"]
        detail = f"per image; {percent(share, 0)} of dense, first layer included"
    row = _estimates(energy)["memory-aware"][0]
    return [
        Tile("Operations", si(totals["sop_unit"]), detail),
        Tile(
            "Estimated energy",
            joules(row["pj"]),
            f"{span(row['low'], row['high'])} per image, with memory",
        ),
    ]


def _estimates(energy: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Estimates by model, in the order of NET_NAMES."""
    found = {(row["model"], row["net"]): row for row in energy["energy"]}
    return {model: [found[model, net] for net in NET_NAMES] for model in MODELS}


def energy_section(energy: dict[str, Any]) -> Section:
    conditions, totals = energy["model"], energy["totals"]
    estimates = _estimates(energy)
    row = estimates["memory-aware"][0]
    lead = (
        f"Estimated {span(row['low'], row['high'])} per image with memory traffic, "
        f"the largest term being {row['dominant']}; {si(totals['sop_unit'])} synaptic operations of unit spikes "
        f"and {si(totals['macs'])} multiply-accumulates, against {si(totals['dense_macs'])} dense ones."
    )
    parts = [
        Part(note=energy["statement"]),
        Part(figure=figures.energy(estimates, NET_NAMES, conditions["precision"])),
        Part(table=_estimate_table(estimates)),
        Part(text=_ratio_text(conditions)),
        Part(table=_ratio_table(energy)),
        Part(heading="Operations by layer, per image", table=_layer_table(energy)),
    ]
    if energy["unsupported"]:
        listed = [
            f"{row['node']} ({row['op']}), {si(row['elements'])} elements: {row['reason']}"
            for row in energy["unsupported"]
        ]
        parts.append(Part(heading="Not priced", points=listed))
    if energy["warnings"]:
        parts.append(Part(heading="Warnings", points=energy["warnings"]))
    parts.append(Part(heading="Assumptions", points=energy["assumptions"]))
    return Section("energy", "Operations and energy", lead, parts)


def _estimate_table(estimates: dict[str, list[dict[str, Any]]]) -> Table:
    header = ["net"]
    rows = [[NET_NAMES[row["net"]]] for row in estimates[MODELS[0]]]
    for model in MODELS:
        header.append(f"{model} (interval)")
        for line, row in zip(rows, estimates[model], strict=True):
            line.append(f"{joules(row['pj'])} ({span(row['low'], row['high'])})")
    for line, row in zip(rows, estimates["memory-aware"], strict=True):
        share = row["breakdown"][row["dominant"]] / row["pj"]
        line.append(f"{row['dominant']} ({percent(share, 0)})")
    header.append("largest term, with memory")
    return Table(header, rows, "Estimated energy per image", (0,), (header[-1],))


def _ratio_text(conditions: dict[str, Any]) -> str:
    return (
        f"What a multiply-accumulate costs beside an accumulate ({conditions['ratio']:.1f} times, at "
        f"{conditions['precision']}) decides much of such a comparison. The same ratios at every "
        "precision, in units of the quantised net that skips zeros:"
    )


def _ratio_table(energy: dict[str, Any]) -> Table:
    chosen = energy["model"]["precision"]
    precisions = {chosen: energy["energy"], **energy["other_precisions"]}
    rows = []
    for name, found in precisions.items():
        pj = {(row["model"], row["net"]): row["pj"] for row in found}
        cells = [
            f"{pj[model, net] / (pj[model, 'quantised'] or 1.0):.2g}"
            for model in MODELS
            for net in ("serialised", "dense")
        ]
        rows.append((name, *cells))
    header = [
        "precision",
        *(f"{net}, {model}" for model in MODELS for net in ("unit spikes", "dense")),
    ]
    return Table(header, rows, "Ratios to the quantised net", (0,))


def _layer_table(energy: dict[str, Any]) -> Table:
    rows = [
        (
            row["path"] or row["name"],
            f"{row['message']} 0..{row['levels']}" if row["levels"] > 1 else row["message"],
            "" if row["density"] is None else percent(row["density"], 1),
            si(row["sop_msg"]) if row["levels"] else "",
            si(row["sop_unit"]) if row["levels"] else "",
            si(row["macs"]) if row["macs"] else "",
            si(row["dense_macs"]),
        )
        for row in energy["layers"]
    ]
    t = energy["totals"]
    total = (
        "total",
        "",
        "",
        si(t["sop_msg"]),
        si(t["sop_unit"]),
        si(t["macs"]),
        si(t["dense_macs"]),
    )
    header = ("layer", "input", "non-zero", "per message", "per unit spike", "MAC", "dense MAC")
    return Table(header, [*rows, total], "Operations by layer", (len(rows),), ("input",))
