"""The equality table of a pipeline: module, integer graph and binary slots, pair by pair."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import synfire
from synfire.export import SpikeGraph, execute, trace
from synfire.export.executors import Execution
from synfire.report.schema import Comparison, Equality

NAMES = {"integer": "integer graph", "slots": "binary slots"}


class PairedRuntimes:
    """Runs integer and slots side by side on each batch and compares the two with each other."""

    def __init__(self) -> None:
        self.neurons = self.flips = self.samples = self.predictions_equal = 0
        self.logit_difference = 0.0

    def integer(self, graph: SpikeGraph, x: Tensor) -> Execution:
        """The integer run, kept for the slots that follow."""
        self.held = execute(graph, x, "integer", record=True)
        return self.held

    def slots(self, graph: SpikeGraph, x: Tensor) -> Execution:
        """The slot run, compared with the integer run of the same batch."""
        run = execute(graph, x, "slots", record=True)
        for name, counts in self.held.counts.items():
            self.neurons += counts.numel()
            self.flips += int((counts != run.counts[name]).sum())
        left, right = self.held.output, run.output
        self.samples += left.shape[0]
        self.predictions_equal += int((left.argmax(-1) == right.argmax(-1)).sum())
        difference = float((left - right).abs().max())
        self.logit_difference = max(self.logit_difference, difference)
        return run


def compare(net: Any, graph: SpikeGraph, images: Tensor, in_float64: int) -> Equality:
    """All pairs on ``images``, the module's also in float64 on the first ``in_float64`` of them.

    The last row of ``comparisons`` is integer graph against binary slots.
    """
    paired = PairedRuntimes()
    runtimes = {"integer": paired.integer, "slots": paired.slots}
    report = synfire.verify(net, images, runtimes=runtimes, graph=graph)
    rows = [_row(result, report.dtype) for result in report.results]
    if not report.exact:
        some = images[:in_float64].double()
        double = trace(net.double(), some[:2])
        rows += [_row(r, "float64") for r in synfire.verify(net, some, graph=double).results]
        net.float()
    rows.append(
        Comparison(
            left=NAMES["integer"],
            right=NAMES["slots"],
            exact=paired.flips == 0 and paired.predictions_equal == paired.samples,
            neurons=paired.neurons,
            flips=paired.flips,
            predictions=paired.samples,
            predictions_equal=paired.predictions_equal,
            logit_difference=paired.logit_difference,
            note="float32",
        )
    )
    first = report.first_difference
    said = None if first is None else str(first)
    return Equality(comparisons=rows, samples=len(images), first_difference=said)


def _row(result: Any, dtype: str) -> Comparison:
    return Comparison(
        left="module",
        right=NAMES[result.runtime],
        exact=result.exact,
        neurons=result.counts,
        flips=result.flips,
        predictions=result.samples,
        predictions_equal=result.samples - result.predictions_differ,
        logit_difference=result.largest_logit_difference,
        note=f"{dtype}, {result.samples:,} images",
    )
