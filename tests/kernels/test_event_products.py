"""Event-driven products against float64: every form, type of weight, width of registers and odd size; refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nn_functional
from torch.library import opcheck

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import SlowPathWarning, explain, native, use
from synfire.kernels.event_conv import event_conv, event_conv_op
from synfire.kernels.event_linear import EventWeight, event_linear, event_linear_op
from synfire.kernels.packing import pack_bits

compiled = pytest.mark.skipif(not native.available(), reason="the extension is not compiled here")
WEIGHTS = {
    "float32": lambda shape, g: torch.randint(-64, 65, shape, generator=g) / 16,
    "int16": lambda shape, g: torch.randint(-3000, 3001, shape, generator=g).to(torch.int16),
    "int8": lambda shape, g: torch.randint(-128, 128, shape, generator=g).to(torch.int8),
}
FORMS = ("bits", "bool", "uint8", "float32", "float16")
MATRICES = [
    (1, 63, 1),
    (2, 100, 130),
    (5, 1, 10),
    (260, 512, 64),
    (3, 1500, 70),
    (64, 4097, 9),
    (7, 0, 5),
    (0, 5, 5),
]
# batch, channels, height, width, outputs, kernel, stride, padding
IMAGES = [
    (2, 3, 7, 9, 5, 3, 1, 1),
    (3, 16, 8, 8, 16, 3, 1, 1),
    (2, 64, 9, 7, 70, 3, 2, 1),
    (1, 130, 5, 5, 20, 3, 1, 1),
    (2, 200, 6, 6, 17, 3, 1, 0),
    (1, 1300, 4, 5, 9, 3, 2, 1),
    (2, 5, 6, 300, 8, 3, 1, ((0, 2), (1, 0))),
    (2, 7, 12, 11, 6, 5, (2, 1), (2, 3)),
    (4, 33, 6, 6, 12, 1, 2, 0),
    (40, 12, 3, 3, 8, 3, 1, 1),
    (2, 20, 5, 5, 4, 1, 1, 1),
    (300, 4, 2, 2, 3, 1, 1, 0),
]


@pytest.fixture(params=[4, 8, 16], ids=lambda lanes: f"{lanes}-lanes")
def lanes(request):
    module = native._extension()[0]
    if module is None or request.param > module.lanes():
        pytest.skip("the extension or the processor does not have it")
    widest = module.lanes()
    module.limit_lanes(request.param)
    yield request.param
    module.limit_lanes(widest)


def counts(shape, most, density, seed=0):
    draw = torch.Generator().manual_seed(seed + sum(shape))
    alive = torch.rand(shape, generator=draw) < density
    return torch.randint(1, most + 1, shape, generator=draw) * alive


def as_form(x, form, scale, channels_last=False):
    """Counts in one form; options of the call."""
    if form == "bits":
        return pack_bits(x.movedim(1, -1) if channels_last else x), {"packed": True, "scale": scale}
    if form in ("bool", "uint8"):
        return x.to(getattr(torch, form)), {"scale": scale}
    return (x * scale).to(getattr(torch, form)), {"scale": scale}


def weight_of(kind, shape):
    return WEIGHTS[kind](shape, torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("size", MATRICES, ids=str)
def test_matrix(lanes, size, kind, form):
    rows, inputs, outputs = size
    weight = weight_of(kind, (outputs, inputs))
    packed = EventWeight.pack(weight)
    for most, density in ((1, 0.05), (1, 1.0), (4, 0.3), (15, 0.3)):
        if most > 1 and form in ("bits", "bool"):
            continue
        x = counts((rows, inputs), most, density)
        given, options = as_form(x, form, 0.25)
        out = event_linear(given, packed, density_limit=float("inf"), **options)
        expected = x.double() @ weight.double().t() * (0.25 if kind == "float32" else 1)
        assert out.dtype == (torch.float32 if kind == "float32" else torch.int32)
        assert torch.equal(out.double(), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("size", IMAGES, ids=str)
def test_image(lanes, size, kind, form):
    batch, channels, height, width, outputs, kernel, stride, padding = size
    weight = weight_of(kind, (outputs, channels, kernel, kernel))
    check_image(weight, 1, (batch, channels, height, width), form, stride, padding)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("channels", [1, 7, 16, 83])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (5, 1, 0)])
def test_depthwise(lanes, channels, kernel, stride, padding, kind, form):
    weight = weight_of(kind, (channels, 1, kernel, kernel))
    check_image(weight, channels, (3, channels, 9, 6), form, stride, padding)


def check_image(weight, groups, shape, form, stride, padding):
    packed = EventWeight.pack(weight, groups)
    both = (padding, padding) if isinstance(padding, int) else padding
    (top, bottom), (left, right) = ((p, p) if isinstance(p, int) else p for p in both)
    for most, density in ((1, 0.1), (4, 0.4)):
        if most > 1 and form in ("bits", "bool"):
            continue
        x = counts(shape, most, density)
        given, options = as_form(x, form, 0.25, channels_last=True)
        limit = {"stride": stride, "padding": padding, "density_limit": float("inf")}
        padded = nn_functional.pad(x.double(), (left, right, top, bottom))
        expected = nn_functional.conv2d(padded, weight.double(), stride=stride, groups=groups)
        expected = expected * (0.25 if weight.is_floating_point() else 1)
        out = event_conv(given, packed, **options, **limit)
        assert torch.equal(out.double(), expected)
        assert out.is_contiguous(memory_format=torch.channels_last)
        if form == "uint8":
            last = given.contiguous(memory_format=torch.channels_last)
            assert torch.equal(event_conv(last, packed, **options, **limit), out)


@pytest.mark.parametrize("value", [-128, 127])
def test_the_largest_sums_of_bytes_are_exact(lanes, value):
    packed = EventWeight.pack(torch.full((70, 4097), value, dtype=torch.int8))
    for most in (1, 15, 255):
        x = torch.full((5, 4097), most, dtype=torch.uint8)
        out = event_linear(x, packed, density_limit=float("inf"))
        assert torch.equal(out, torch.full((5, 70), value * most * 4097, dtype=torch.int32))


@pytest.mark.parametrize("value", [-32768, 32767])
def test_the_largest_sums_of_shorts_are_exact(lanes, value):
    packed = EventWeight.pack(torch.full((40, 4096), value, dtype=torch.int16))
    x = torch.full((5, 4096), 15, dtype=torch.uint8)
    out = event_linear(x, packed, density_limit=float("inf"))
    assert torch.equal(out, torch.full((5, 40), value * 15 * 4096, dtype=torch.int32))


def test_floats_are_added_in_the_order_of_the_inputs(lanes):
    """Not only the same on all processors: known, so that a reference can repeat it."""
    draw = torch.Generator().manual_seed(0)
    for rows, inputs in ((2, 1500), (9, 600)):
        weight = torch.randn(33, inputs, generator=draw)
        x = counts((rows, inputs), 3, 0.2)
        expected = torch.zeros(rows, 33)
        for k in range(inputs):
            for event in range(3):
                expected += (x[:, k, None] > event) * weight[:, k]
        out = event_linear(x.to(torch.uint8), EventWeight.pack(weight), density_limit=float("inf"))
        assert torch.equal(out, expected)


@compiled
@pytest.mark.parametrize("kind", WEIGHTS)
def test_threads_and_repetition_change_nothing(kind):
    weight = torch.randn(300, 700) if kind == "float32" else weight_of(kind, (300, 700))
    packed = EventWeight.pack(weight)
    for rows in (1, 3, 2000):
        x = counts((rows, 700), 2, 0.2).to(torch.uint8)
        results = [event_linear(x, packed, threads=threads) for threads in (1, 1, 2, 3)]
        assert all(torch.equal(result, results[0]) for result in results)
    weight = torch.randn(40, 64, 3, 3) if kind == "float32" else weight_of(kind, (40, 64, 3, 3))
    x = counts((8, 64, 20, 21), 2, 0.2).to(torch.uint8)
    for packed, groups in (
        (EventWeight.pack(weight), 1),
        (EventWeight.pack(weight_of(kind, (64, 1, 3, 3)), 64), 64),
    ):
        assert packed.groups == groups
        results = [event_conv(x, packed, padding=1, threads=threads) for threads in (1, 1, 2, 3)]
        assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("path", ["event", "dense", "reference"])
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("form", FORMS)
def test_every_path_gives_the_same(path, kind, form):
    x, weight = counts((6, 90), 1, 0.3), weight_of(kind, (20, 90))
    given, options = as_form(x, form, 0.5)
    image, kernel = counts((2, 6, 5, 5), 1, 0.3), weight_of(kind, (4, 6, 3, 3))
    given_image, image_options = as_form(image, form, 0.5, channels_last=True)
    expected = x.double() @ weight.double().t() * (0.5 if kind == "float32" else 1)
    expected_image = nn_functional.conv2d(image.double(), kernel.double(), padding=1) * (
        0.5 if kind == "float32" else 1
    )
    with use(path):
        assert torch.equal(
            event_linear(given, EventWeight.pack(weight), **options).double(), expected
        )
        out = event_conv(given_image, EventWeight.pack(kernel), padding=1, **image_options)
        assert torch.equal(out.double(), expected_image)
        deep_kernel = EventWeight.pack(weight_of(kind, (6, 1, 3, 3)), 6)
        zeros = ((0, 1), (1, 0))
        deep = event_conv(given_image, deep_kernel, padding=zeros, **image_options)
        assert deep.shape == (2, 6, 4, 4)


@compiled
def test_density_chooses_the_path_and_explain_tells_it():
    weight = EventWeight.pack(torch.randn(20, 400))
    for density, path in ((0.05, "event"), (0.9, "dense")):
        x = counts((50, 400), 1, density).to(torch.uint8)
        told = explain("event_linear", x, weight=weight)
        assert told.path == path
        assert path == "event" or "events an element, limit 0.4" in str(told)
        assert explain("event_linear", x, weight=weight, density_limit=1.0).path == "event"
        with use("reference"):
            assert explain("event_linear", x, weight=weight).path == "reference"
    image = counts((2, 20, 9, 9), 4, 0.9)
    kernel = EventWeight.pack(torch.randn(5, 20, 3, 3))
    for given in (image.to(torch.uint8), image.float()):
        assert explain("event_conv", given, weight=kernel).path == "dense"
    assert (
        explain("event_conv", pack_bits(image.movedim(1, -1)), weight=kernel, packed=True).path
        == "dense"
    )


@compiled
def test_the_path_that_explain_tells_runs():
    """Only sums over events are made in the order of the inputs."""
    weight = torch.randn(20, 400)
    packed = EventWeight.pack(weight)
    for density in (0.3, 0.9):
        x = counts((50, 400), 1, density).to(torch.uint8)
        with use(explain("event_linear", x, weight=packed).path):
            expected = event_linear(x, packed)
        assert torch.equal(event_linear(x, packed), expected)


@compiled
def test_float_values_that_are_no_counts_are_refused():
    weight = EventWeight.pack(torch.randn(5, 300))
    for value in (0.3, -1.0, 256.0, float("nan"), float("inf"), -float("inf"), 1e30):
        x = counts((400, 300), 2, 0.1).float()
        x[399, 299] = value
        with pytest.raises(InputError, match=r"0\.\.255 times scale=1"):
            event_linear(x, weight)
    x = counts((4, 300), 15, 0.1) * torch.tensor(
        1 / 3
    )  # what a neuron sends is not exactly counts / 3
    assert torch.allclose(event_linear(x, weight, scale=1 / 3), x @ weight.weight.t(), atol=1e-4)


@compiled
def test_the_measured_density_is_right():
    from synfire.kernels.event_weight import measured_density

    weight = EventWeight.pack(torch.randn(5, 100))
    for rows, most, tolerance in ((3, 1, 1e-9), (3, 4, 1e-9), (10_000, 2, 0.02)):
        x = counts((rows, 100), most, 0.2)
        exact = float(x.double().mean())
        assert abs(measured_density(x.to(torch.uint8), weight, False, 1.0) - exact) < tolerance
        assert abs(measured_density(x.float(), weight, False, 1.0) - exact) < tolerance
    assert measured_density(torch.zeros(0, 100), weight, False, 1.0) == 0.0


@pytest.mark.parametrize("kind", WEIGHTS)
def test_opcheck(kind):
    x, image = counts((6, 90), 3, 0.3).float(), counts((2, 6, 5, 7), 3, 0.3).to(torch.uint8)
    linear, conv = (
        EventWeight.pack(weight_of(kind, (20, 90))),
        EventWeight.pack(weight_of(kind, (4, 6, 3, 3))),
    )
    deep = EventWeight.pack(weight_of(kind, (6, 1, 3, 3)), 6)
    given = (x, linear.weight, linear.slabs, linear.largest, linear.reach, False, 1.0, None, 1)
    assert set(opcheck(event_linear_op, given).values()) == {"SUCCESS"}
    for w in (conv, deep):
        given = (
            image,
            w.weight,
            w.slabs,
            w.groups,
            w.largest,
            w.reach,
            False,
            1.0,
            [2, 1],
            [1, 0, 2, 1],
            None,
            1,
        )
        assert set(opcheck(event_conv_op, given).values()) == {"SUCCESS"}


def test_compiles_without_a_break():
    linear, conv = (
        EventWeight.pack(weight_of("int8", (5, 16))),
        EventWeight.pack(weight_of("int8", (4, 2, 3, 3))),
    )

    def net(x):
        return event_linear(
            event_conv(x, conv, padding=1).clamp(0, 1).flatten(1).to(torch.uint8)[:, :16], linear
        )

    x = counts((3, 2, 4, 4), 2, 0.5).to(torch.uint8)
    assert torch.equal(torch.compile(net, fullgraph=True, backend="eager")(x), net(x))


def test_layouts_and_leading_axes():
    packed = EventWeight.pack(weight_of("int8", (20, 90)))
    x = counts((90, 4, 3), 3, 0.3).to(torch.uint8).permute(2, 1, 0)
    out = event_linear(x, packed)
    assert out.shape == (3, 4, 20)
    assert torch.equal(out, event_linear(x.contiguous(), packed))
    assert event_linear(x[0, 0], packed).shape == (20,)


@pytest.mark.parametrize("path", ["event", "dense", "reference"])
def test_an_output_is_written_again(path):
    linear, conv = (
        EventWeight.pack(torch.randn(20, 90)),
        EventWeight.pack(weight_of("int8", (4, 6, 3, 3))),
    )
    first, second = (counts((2, 3, 90), 3, 0.2, seed).to(torch.uint8) for seed in (0, 1))
    image, other = (counts((2, 6, 5, 5), 3, 0.2, seed).to(torch.uint8) for seed in (0, 1))
    with use(path):
        out, image_out = event_linear(first, linear), event_conv(image, conv)
        assert event_linear(second, linear, out=out) is not None
        assert torch.equal(out, event_linear(second, linear))
        assert event_conv(other, conv, out=image_out) is image_out
        assert torch.equal(image_out, event_conv(other, conv))
    for wrong in (out[0], out.double(), out.transpose(0, 1)):
        with pytest.raises(InputError, match="earlier call"):
            event_linear(first, linear, out=wrong)
    with pytest.raises(InputError, match="channels last"):
        event_conv(image, conv, out=image_out.contiguous())


def test_bad_input_is_refused_in_a_sentence():
    weight, kernel = EventWeight.pack(torch.randn(4, 10)), EventWeight.pack(torch.randn(4, 3, 3, 3))
    image = torch.zeros(2, 3, 5, 5)
    refusals = [
        (lambda: event_linear(torch.ones(2, 10, requires_grad=True), weight), "no gradient"),
        (lambda: event_linear(torch.ones(2, 9), weight), r"inputs \[\.\.\., 10\]"),
        (lambda: event_linear(torch.ones(2, 10, dtype=torch.int64), weight), "got int64"),
        (lambda: event_linear(torch.ones(2, 2), weight, packed=True), "packed bits"),
        (lambda: event_linear(image, kernel), "goes to event_conv"),
        (lambda: event_conv(image, weight), "goes to event_linear"),
        (lambda: event_conv(torch.zeros(2, 4, 5, 5), kernel), r"\[B, 3, H, W\]"),
        (lambda: event_conv(torch.zeros(2, 3, 1, 1), kernel), "does not fit"),
        (lambda: EventWeight.pack(torch.ones(3)), "CPU tensor"),
        (lambda: EventWeight.pack(torch.ones(3, 4, dtype=torch.float64)), "float64"),
    ]
    for call, message in refusals:
        with pytest.raises(InputError, match=message):
            call()
    for call in (
        lambda: event_conv(image, kernel, stride=0),
        lambda: event_conv(image, kernel, padding=-1),
        lambda: EventWeight.pack(torch.ones(4, 2, 3, 3), 2),
    ):
        with pytest.raises(ConfigError):
            call()
    large = EventWeight.pack(torch.full((1, 5000), 32767, dtype=torch.int16))
    with pytest.raises(InputError, match="int32"):
        event_linear(torch.full((1, 5000), 14, dtype=torch.uint8), large)
    assert event_linear(torch.full((1, 5000), 2, dtype=torch.uint8), large).item() == 32767 * 10000


def test_without_compiled_kernels_the_dense_product_runs_and_says_why(monkeypatch):
    monkeypatch.setattr(native, "_extension", lambda: (None, "no compiler"))
    monkeypatch.setattr("synfire.kernels.dispatch._warned", set())
    x, weight = counts((6, 90), 3, 0.1).to(torch.uint8), weight_of("int8", (20, 90))
    packed = EventWeight.pack(weight)
    with pytest.warns(SlowPathWarning, match="no compiler"):
        out = event_linear(x, packed)
    assert torch.equal(out.double(), x.double() @ weight.double().t())
    assert "no compiler" in str(explain("event_linear", x, weight=packed))
