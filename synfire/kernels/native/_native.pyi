Values = tuple[int, int, int]
Inputs = tuple[int, int, int, int, int, int, int]
Results = tuple[int, int, int, int, int]

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
def prefer_large_pages(buffer: int, bytes: int) -> None: ...
def integrate_fire_forward(
    dynamics: Dynamics,
    steps: int,
    elements: int,
    dtype: str,
    x: int,
    v0: int,
    i0: int,
    decay: Values,
    threshold: Values,
    scale: Values,
    shift: Values,
    output_scale: float,
    form: str,
    out: int,
    record: int,
    v: int,
    i: int,
    threads: int,
) -> None: ...
def integrate_fire_backward(
    dynamics: Dynamics,
    steps: int,
    elements: int,
    grad_dtype: str,
    x_dtype: str,
    current: bool,
    inputs: Inputs,
    decay: Values,
    threshold: Values,
    scale: Values,
    shift: Values,
    output_scale: float,
    epilogue: tuple[Values, Values, Values, Values],
    results: Results,
    threads: int,
) -> None: ...
def integrate_fire_backward_sums(
    dynamics: Dynamics,
    steps: int,
    elements: int,
    grad_dtype: str,
    x_dtype: str,
    current: bool,
    inputs: Inputs,
    decay: Values,
    threshold: Values,
    scale: Values,
    shift: Values,
    output_scale: float,
    mean: Values,
    sums: int,
    products: int,
    threads: int,
) -> None: ...
def moments(
    elements: int,
    channels: int,
    inner: int,
    dtype: str,
    x: int,
    mean: int,
    variance: int,
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

class EventPlan:
    def __init__(
        self,
        kind: int,
        outputs: int,
        channels: int,
        kernel_height: int,
        kernel_width: int,
        largest_weight: int,
    ) -> None: ...
    @property
    def bytes(self) -> int: ...
    def pack(self, weight: int, slabs: int) -> None: ...
    def product(
        self,
        slabs: int,
        form: int,
        x: int,
        scale: float,
        sizes: tuple[int, ...],
        out: int,
        limit: float,
        threads: int,
    ) -> tuple[int, float]: ...

def event_density(
    form: int, x: int, scale: float, pixels: int, channels: int
) -> tuple[int, float]: ...
def event_depthwise(
    weight: int,
    integer: bool,
    kernel_height: int,
    kernel_width: int,
    form: int,
    x: int,
    scale: float,
    channels: int,
    sizes: tuple[int, ...],
    out: int,
    threads: int,
) -> bool: ...

class DensePlan:
    def __init__(
        self, kind: int, outputs: int, channels: int, kernel_height: int, kernel_width: int
    ) -> None: ...
    @property
    def bytes(self) -> int: ...
    def pack(self, weight: int, slabs: int) -> None: ...

class After:
    def __init__(
        self, scale: int = 0, bias: int = 0, shortcut: int = 0, potential: int = 0
    ) -> None: ...
    def fire(
        self,
        decay: int,
        gain: int,
        threshold: int,
        unit: bool,
        levels: int,
        rounding: str,
        reset: str,
        reset_value: float,
        v: int,
        counts: int,
    ) -> None: ...

class Program:
    def __init__(self) -> None: ...
    def product(
        self,
        plan: EventPlan | None,
        slabs: int,
        dense: DensePlan | None,
        dense_slabs: int,
        form: int,
        x: int,
        channels: int,
        sizes: tuple[int, ...],
        after: After,
        limit: float,
    ) -> None: ...
    def point(self, x: int, rows: int, channels: int, after: After) -> None: ...
    def pool(
        self,
        maximum: bool,
        x: int,
        channels: int,
        sizes: tuple[int, ...],
        kernel_height: int,
        kernel_width: int,
        divisor: float,
        out: int,
    ) -> None: ...
    def depthwise(
        self,
        weight: int,
        kernel_height: int,
        kernel_width: int,
        form: int,
        x: int,
        channels: int,
        sizes: tuple[int, ...],
        out: int,
    ) -> None: ...
    def convert(self, widen: bool, x: int, n: int, out: int) -> None: ...
    def copy(self, x: int, rows: int, bytes: int, out: int, out_bytes: int) -> None: ...
    def run(self, threads: int) -> None: ...
    def choices(self) -> list[tuple[float, float, bool]]: ...

def can_multiply_dense(kind: int) -> bool: ...
