"""An energy report as text for a terminal, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from synfire.energy.pricing import MODELS, Estimate
from synfire.energy.report import EnergyReport

WIDTH = 100
NET_NAMES = {
    "serialised": "spiking, unit spikes",
    "graded": "spiking, graded",
    "quantised": "quantised, zeros skipped",
    "dense": "quantised, dense",
}


def si(value: float, unit: str = "") -> str:
    """Three digits and a prefix.

    Example:
        >>> si(1234567), si(0), si(12.3, "pJ"), si(0.25)
        ('1.23 M', '0', '12.3 pJ', '0.25')
    """
    prefix = ""
    for prefix in ("", "k", "M", "G", "T"):  # noqa: B007
        if abs(value) < 999.5:
            break
        value /= 1000
    space = " " if prefix or unit else ""
    return f"{value:.3g}{space}{prefix}{unit}"


def joules(picojoules: float) -> str:
    """Two digits, as no more can be meant.

    Example:
        >>> joules(34.6e9), joules(123456.0), joules(0.42)
        ('35 mJ', '0.12 µJ', '0.42 pJ')
    """
    if picojoules == 0:
        return "0 pJ"
    for prefix, size in (("p", 1.0), ("n", 1e3), ("µ", 1e6), ("m", 1e9)):
        if abs(picojoules) < 100 * size:
            return f"{_two_digits(picojoules / size)} {prefix}J"
    return f"{_two_digits(picojoules / 1e12)} J"


def span(low: float, high: float) -> str:
    """An interval in picojoules.

    Example:
        >>> span(120e3, 340e3), span(8e3, 340e3)
        ('0.12 to 0.34 µJ', '8.0 nJ to 0.34 µJ')
    """
    first, last = joules(low), joules(high)
    unit = last.split()[1]
    return f"{first.removesuffix(' ' + unit)} to {last}"


def _two_digits(value: float) -> str:
    text = f"{value:#.2g}".rstrip(".")
    return f"{float(text):.0f}" if "e" in text else text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns: the first to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    lines = []
    for line in (header, *rows):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * min(WIDTH, sum(widths) + 2 * (len(widths) - 1)))
    return lines


def summary(report: EnergyReport) -> str:
    """Layers, neurons, estimates with intervals, statement, assumptions and warnings."""
    c = report.conditions
    lines = [
        f"Operations and estimated energy per image: T={c.timesteps}, D={c.levels}, "
        f"mean of {c.samples} samples",
        "",
        *_layer_table(report),
        "",
        *_neuron_table(report),
        "",
        *_energy_table(report),
        "",
        *textwrap.wrap(report.statement, WIDTH),
    ]
    if report.unpriced:
        lines += ["", "Not priced:"]
        lines += [
            _item(f"{r.name} ({r.op}): {si(r.elements)} elements; {r.reason}")
            for r in report.unpriced
        ]
    lines += ["", "Assumptions:", *map(_item, report.assumptions)]
    if report.warnings:
        lines += ["", "Warnings:", *map(_item, report.warnings)]
    return "\n".join(lines)


def _item(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ")


def _layer_table(report: EnergyReport) -> list[str]:
    header = ("layer", "input", "non-zero", "events", "SOP msg", "SOP unit", "MAC", "dense MAC")
    rows = [
        (
            row.path or row.name,
            f"{row.message} 0..{row.levels}" if row.levels > 1 else row.message,
            "" if row.density is None else f"{100 * row.density:.1f} %",
            si(row.events),
            si(row.sop_msg),
            si(row.sop_unit),
            si(row.macs),
            si(row.dense_macs),
        )
        for row in report.layers
    ]
    t = report.totals
    rows.append(("total", "", "", "", si(t.sop_msg), si(t.sop_unit), si(t.macs), si(t.dense_macs)))
    return table(header, rows)


def _neuron_table(report: EnergyReport) -> list[str]:
    header = ("neurons", "number", "rate", "5-95 % of samples", "non-zero", "events", "unit spikes")
    rows = [
        (
            row.path or row.name,
            si(row.neurons),
            f"{row.rate:.3f}",
            f"{row.rate_low:.3f}-{row.rate_high:.3f}",
            f"{100 * row.nonzero:.1f} %",
            si(row.events),
            si(row.spikes),
        )
        for row in report.neurons
    ]
    t = report.totals
    rows.append(
        (
            "total",
            si(t.neurons),
            f"{t.rate:.3f}",
            "",
            f"{100 * t.nonzero:.1f} %",
            si(t.events),
            si(t.spikes),
        )
    )
    return [*table(header, rows), "rate: mean count per neuron per timestep"]


def _energy_table(report: EnergyReport) -> list[str]:
    names = list(NET_NAMES)
    lines = []
    for model in MODELS:
        label = {"compute-only": "arithmetic alone, a lower bound", "memory-aware": "with memory"}
        title = f"{model} ({label[model]}), {report.conditions.precision}"
        rows = [_energy_row(report.estimate(model, net)) for net in names]
        lines += [*table((title, "estimated", "interval", "largest term"), rows), ""]
    ratios = [_ratios(report.conditions.precision, report.estimates)]
    ratios += [_ratios(name, found) for name, found in report.other_precisions.items()]
    header = ("unit spikes : quantised : dense, in units of quantised", *MODELS)
    return lines + table(header, ratios)


def _energy_row(estimate: Estimate) -> tuple[str, str, str, str]:
    return (
        NET_NAMES[estimate.net],
        joules(estimate.picojoules),
        span(estimate.low, estimate.high),
        estimate.dominant,
    )


def _ratios(precision: str, estimates: list[Estimate]) -> tuple[str, ...]:
    found = {(e.model, e.net): e.picojoules for e in estimates}
    cells = [precision]
    for model in MODELS:
        base = found[model, "quantised"] or 1.0
        spiking, dense = found[model, "serialised"] / base, found[model, "dense"] / base
        cells.append(f"{spiking:.2g} : 1 : {dense:.2g}")
    return tuple(cells)
