from typing import Any

Array = Any

class Dynamics:
    def __init__(
        self,
        levels: int,
        rounding: str,
        reset: str,
        reset_value: float,
        detach_reset: bool,
        input_gain: float,
        decay_input: bool,
        current_decay: float,
        surrogate: str,
        width: float,
        scale: float,
        inclusive: bool,
        unit: str,
    ) -> None: ...

def lanes() -> int: ...
def limit_lanes(most: int) -> int: ...
def integrate_fire_forward(
    dynamics: Dynamics,
    steps: int,
    x: Array,
    v0: Array | None,
    i0: Array | None,
    decay: Array,
    decay_inner: int,
    threshold: Array,
    threshold_inner: int,
    output_scale: float,
    counts: Array,
    v: Array,
    i: Array | None,
    threads: int,
) -> None: ...
def integrate_fire_backward(
    dynamics: Dynamics,
    steps: int,
    grad_counts: Array,
    grad_v: Array,
    grad_i: Array | None,
    x: Array,
    v0: Array | None,
    i0: Array | None,
    decay: Array,
    decay_inner: int,
    threshold: Array,
    threshold_inner: int,
    output_scale: float,
    grad_x: Array,
    grad_v0: Array,
    grad_i0: Array | None,
    grad_decay: Array | None,
    grad_threshold: Array | None,
    threads: int,
) -> None: ...
def pack_bits(x: int, element: int, rows: int, n: int, packed: int, threads: int) -> None: ...
def pack_counts(
    x: int, element: int, rows: int, n: int, scale: float, packed: int, threads: int
) -> bool: ...
def unpack(
    packed: int, rows: int, n: int, in_a_byte: int, table: int, size: int, out: int, threads: int
) -> None: ...
def popcount(packed: int, bytes: int, threads: int) -> int: ...
def count_nonzero(x: int, element: int, n: int, threads: int) -> int: ...
