"""What a report says about itself: assumptions, warnings, how spikes and quantisation relate."""

from __future__ import annotations

from synfire.energy.records import Layer, Neurons, Operation
from synfire.energy.report import EnergyReport
from synfire.energy.tables import Hardware

FEW_SAMPLES = 20


def statement(report: EnergyReport) -> str:
    """How this net and the quantised net beside it are related."""
    steps, levels = report.conditions.timesteps, report.conditions.levels
    bits = _bits(report.conditions.quantised_bits)
    slots = (
        "counts are sent as D binary slots, so that weights are added and never multiplied, for "
        "the price of one weight read per unit spike; and on event-driven hardware, which works "
        "on non-zero messages alone and may hold no multipliers"
    )
    if steps == 1 and levels == 1:
        return (
            "At T = 1 this net is a quantised network with 1-bit activations: nothing is carried "
            "from one timestep to the next, and the same events reach the same synapses. It still "
            "differs from usual quantised inference on event-driven hardware, which works on "
            "non-zero messages alone and needs no multipliers."
        )
    if steps == 1:
        return (
            f"At T = 1 this net is a quantised network: a count of 0..{levels} is an activation "
            f"of {bits}, and nothing is carried from one timestep to the next. With graded "
            "messages its estimate is that of the quantised net. Spikes still differ in two "
            f"places: where {slots}."
        )
    return (
        f"In T = {steps} timesteps of 0..{levels} a neuron tells at most {steps * levels + 1} "
        f"values, and a quantised activation of {bits} does so in one pass. The spiking "
        "net keeps a membrane between timesteps and pays for reading and writing it; in return it "
        "takes input that changes in time and can answer early. Spikes differ further where "
        f"{slots}."
    )


def _where(row: Layer | Neurons | Operation) -> str:
    return row.path or row.name


def _bits(number: int) -> str:
    return f"{number} bit" + ("s" if number > 1 else "")


def assumptions(report: EnergyReport, table: Hardware) -> list[str]:
    """The conditions of the figures, a sentence each."""
    c = report.conditions
    counted = (
        "counted on the executed graph: only synapses that exist (weight not 0) and reach an output"
        if c.exact
        else "counted by the interior formula: borders and pruned weights are not respected"
    )
    return [
        f"Synaptic operations are {counted}; mean of {c.samples} samples.",
        f"Constants: {table.technology}; {table.source}. {table.note}",
        f"Precision {c.precision}: one multiply-accumulate costs {c.ratio:.1f} accumulates. "
        f"{table.precision(c.precision).note}",
        _first_layer(report),
        "Compute-only counts arithmetic alone, a lower bound on arithmetic and not an energy. "
        "Serialised: each unit spike adds one weight (AC per unit spike). Graded: each message "
        "multiplies one weight (MAC per message).",
        "Memory-aware follows Lemaire et al. (2022): weights, membranes and messages are read and "
        "written in SRAM of the size of their layer, "
        f"{c.access_bits} bits an access with every bit used, state {c.state_bits} bits; to "
        "address, an event costs two multiplications and one addition a synapse.",
        "A neuron update costs one accumulate; with T > 1 a leak costs one multiply-accumulate "
        "and a reset one accumulate a message. A bias is added once a timestep.",
        "The quantised net is this net with its counts summed over time as "
        f"{_bits(c.quantised_bits)} of activation, in one pass, at the same precision and with "
        "the same memory; its accuracy is not measured here. Dense: nothing is skipped, outputs "
        "are gathered in registers.",
        "An interval runs from the 5th percentile over samples at the low end of the constants to "
        "the 95th at their high end, such as 64 to 32 bits a memory access; constants without a "
        "published range add no width.",
        "Left out: DRAM, sensor, host, encoding, control, clock, leakage, traffic between cores.",
    ]


def _first_layer(report: EnergyReport) -> str:
    names = ", ".join(_where(row) for row in report.layers if row.message == "analog")
    if not names:
        return "The input consists of counts, so the first layer is priced like every other."
    if report.conditions.first_layer == "once":
        return (
            f"Analog input ({names}): dense multiply-accumulates once for each frame that differs "
            "from the one before, the result being kept."
        )
    return (
        f"Analog input ({names}): dense multiply-accumulates at each timestep that shows a frame; "
        "the quantised net sees each distinct frame once."
    )


def warnings(report: EnergyReport, table: Hardware) -> list[str]:
    """What a reader could be misled by."""
    found = [
        f"{_where(row)} reads values that are not counts: priced as dense multiply-accumulates."
        for row in report.layers
        if row.message == "real"
    ]
    found += [
        f"{_where(row)} is a scale that was not folded: priced as multiply-accumulates."
        for row in report.operations
        if row.op == "Scale"
    ]
    silent = [_where(row) for row in report.neurons if row.events == 0]
    if silent:
        found.append(f"No spike was seen in {', '.join(silent)}: the net may be dead there.")
    if report.conditions.samples < FEW_SAMPLES:
        found.append(
            f"Only {report.conditions.samples} samples ran: percentiles over them mean little."
        )
    c = report.conditions
    if table.precision(c.precision).number == "integer" and c.weight_type.startswith("float"):
        found.append(
            f"The weights are {c.weight_type}: {c.precision} prices a net that is yet to be "
            "quantised."
        )
    return found + _large_buffers(report, table)


def _large_buffers(report: EnergyReport, table: Hardware) -> list[str]:
    width = table.precision(report.conditions.precision).weight_bits
    large = [
        _where(row) for row in report.layers if row.parameters * width / 8 > table.memory.largest
    ]
    if not large:
        return []
    return [
        f"The weights of {', '.join(large)} exceed {table.memory.largest / 2**20:.0f} MiB and are "
        "priced like SRAM of that size; DRAM would cost far more."
    ]
