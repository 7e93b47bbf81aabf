"""How neuron operators become Neuron nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from synfire.core.registry import lowerings
from synfire.kernels.integrate_fire.reference import Dynamics


def _parameter(context: Any, a: dict[str, Any], name: str) -> np.ndarray:
    """Decay or threshold in the shape that broadcasts against one sample."""
    if a[name] is None:
        return np.asarray(a[f"{name}_value"], context.dtype)
    values = context.constant(a[name])
    rank = len(context.shape(a["x"]))
    return values.reshape(-1, *[1] * (rank - 1)) if values.size > 1 else values.reshape(())


@lowerings.register("synfire::integrate_fire.default")
def lower_integrate_fire(context: Any, node: Any) -> str:
    """IF, LIF, ParametricLIF, CubaLIF and IntegerLIF."""
    a = context.arguments(node)
    dynamics = Dynamics.decode(a["dynamics"])
    if a["v"] is not None or a["i"] is not None:
        context.refuse(
            node, "a neuron that starts from a given state", "trace nets that start from rest"
        )
    name: str = context.add(
        node,
        "Neuron",
        [context.input(a["x"])],
        kind="count",
        attrs={
            "kind": "integrate_fire",
            "levels": dynamics.levels,
            "rounding": dynamics.rounding,
            "reset": dynamics.reset,
            "reset_value": dynamics.reset_value,
            "input_gain": dynamics.input_gain,
            "decay_input": dynamics.decay_input,
            "current_decay": dynamics.current_decay if a["has_current"] else None,
            "scale": float(a["output_scale"]),
        },
        weights={
            "decay": _parameter(context, a, "decay"),
            "threshold": _parameter(context, a, "threshold"),
        },
    )
    return name


@lowerings.register("synfire::step_neuron.default")
def lower_step_neuron(context: Any, node: Any) -> str:
    """A neuron made by neuron_from_step: the graph names its step function and keeps its parameters."""
    from synfire.neurons.from_step import levels_of

    a = context.arguments(node)
    names = a["value_names"].split()
    name: str = context.add(
        node,
        "Neuron",
        [context.input(a["x"])],
        kind="count",
        attrs={"kind": "step", "name": a["name"], "levels": levels_of(a["name"]), "scale": 1.0},
        weights={
            f"parameter.{key}": context.constant(value)
            for key, value in zip(names, a["values"], strict=True)
        },
    )
    return name
