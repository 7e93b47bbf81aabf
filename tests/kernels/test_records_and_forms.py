"""What a neuron keeps for its backward pass, and the forms of its output at inference."""

from __future__ import annotations

import pytest
import torch

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.integrate_fire import fire, integrate_fire, neuron_dynamics
from synfire.kernels.integrate_fire.call import packed, unpacked
from synfire.kernels.surrogates import Surrogate

RECTANGLE = Surrogate("rectangle")
RECORDABLE = {
    "integer": {"levels": 4, "rounding": "half_up", "unit": "count"},
    "half even, threshold": {
        "levels": 8, "rounding": "half_even", "unit": "count", "threshold": 0.7, "decay": 0.9,
    },
    "exclusive": {"levels": 4, "rounding": "half_up", "unit": "count", "inclusive": False},
    "through the reset": {
        "levels": 4, "rounding": "half_up", "unit": "count", "detach_reset": False, "decay": 0.9,
    },
    "binary, wide": {"surrogate": Surrogate("rectangle", 1.6, 0.7), "decay": 0.9},
    "hard reset": {"reset": "hard", "reset_value": 0.1, "decay": 0.9},
    "no reset, gain": {"reset": "none", "input_gain": 0.3, "decay": 0.5},
    "current": {"current_decay": 0.8, "decay": 0.9, "output_scale": 0.3},
    "decay input": {"decay_input": True, "decay": 0.9},
}  # fmt: skip


def draw(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, generator=generator) * 1.5 + 0.5
    return (x * 8).round().div(8).to(dtype)  # with values on ties and on edges of windows


def saved_bytes(run) -> int:
    """Bytes that autograd keeps for ``run``, each storage once."""
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("timesteps", [1, 4])
@pytest.mark.parametrize("name", RECORDABLE)
def test_record_and_recomputation_give_equal_gradients(name, timesteps, dtype):
    options = {"surrogate": RECTANGLE} | RECORDABLE[name]
    results = []
    for record in (True, False):
        x = draw(timesteps * 3, 5, 13, dtype=dtype).requires_grad_()
        v = draw(3, 5, 13).requires_grad_()
        out, v_last, _ = integrate_fire(x, timesteps, v=v, record=record, **options)
        weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
        ((out * weights).sum() + (v_last * v_last).sum()).backward()
        results.append((out.detach(), x.grad, v.grad))
    for mine, expected in zip(*results, strict=True):
        assert torch.equal(mine, expected)
    assert results[0][1].abs().sum() > 0


def test_a_record_lies_in_the_order_of_the_input_not_of_the_gradient():
    options = {"surrogate": RECTANGLE} | RECORDABLE["integer"]
    grads = []
    for memory in (torch.contiguous_format, torch.channels_last):
        x = draw(4, 6, 5, 3).to(memory_format=memory).requires_grad_()
        out, _, _ = integrate_fire(x, 2, **options)
        out.backward(draw(4, 6, 5, 3))  # contiguous
        assert x.grad.is_contiguous(memory_format=memory)
        grads.append(x.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize("timesteps", [1, 4])
def test_a_record_is_one_bit_an_element(timesteps):
    shape = (timesteps * 4, 16, 8, 8)
    options = RECORDABLE["integer"] | {"surrogate": RECTANGLE, "last_state": False}
    x = draw(*shape).requires_grad_()
    elements = x.numel()
    # The input of the neuron is what a BatchNorm gave; nothing else holds it.
    kept = saved_bytes(lambda: integrate_fire(x * 2, timesteps, **options))
    assert kept == elements / 8
    hard = {"reset": "hard", "surrogate": RECTANGLE, "last_state": False}
    assert saved_bytes(lambda: integrate_fire(x * 2, timesteps, **hard)) == elements / 4
    recomputed = saved_bytes(lambda: integrate_fire(x * 2, timesteps, record=False, **options))
    assert recomputed == elements * 4


@pytest.mark.parametrize(
    "options",
    [
        {"surrogate": Surrogate("arctan")},
        {"surrogate": RECTANGLE, "reset": "hard", "detach_reset": False},
        {"surrogate": RECTANGLE, "decay": torch.tensor(0.5)},
        {"surrogate": Surrogate("rectangle", 2.0), "levels": 4, "unit": "count"},
    ],
)
def test_a_record_that_is_not_enough_is_refused(options):
    with pytest.raises(ConfigError, match="leave record=None"):
        integrate_fire(torch.zeros(4, 2), 2, record=True, **options)


def test_without_a_last_state_none_comes_back():
    out, v, i = integrate_fire(draw(4, 3), 2, current_decay=0.5, last_state=False)
    assert v is None and i is None
    full, v, i = integrate_fire(draw(4, 3), 2, current_decay=0.5)
    assert torch.equal(out, full) and v.shape == i.shape == (2, 3)


@pytest.mark.parametrize("size", [1, 8, 63, 100])
def test_packed_flags_come_back(size):
    flags = draw(3, size) > 0.5
    bits = packed(flags)
    assert bits.shape == (3, (size + 7) // 8) and bits.dtype == torch.uint8
    assert torch.equal(unpacked(bits, size), flags)
    assert int(bits[0, 0]) & 1 == int(flags[0, 0])


SHAPES = [(4, 1), (4, 63), (4, 100), (4, 4097), (4, 3, 5, 16), (0, 8), (4, 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("timesteps", [1, 4])
def test_counts_as_uint8_and_bits(timesteps, shape):
    x = draw(*shape)
    integer = neuron_dynamics(4, "half_up", surrogate=RECTANGLE, unit="count")
    expected, v, _ = integrate_fire(
        x, timesteps, decay=0.9, levels=4, rounding="half_up", unit="count", surrogate=RECTANGLE
    )
    counts, v_last, _ = fire(x, timesteps, decay=0.9, dynamics=integer, last_state=True)
    assert counts.dtype == torch.uint8 and torch.equal(counts.float(), expected)
    assert torch.equal(v_last, v)
    spikes, _, _ = integrate_fire(x, timesteps, decay=0.9)
    bits, none, _ = fire(x, timesteps, form="bits", decay=0.9, dynamics=neuron_dynamics())
    assert none is None and bits.shape == (*shape[:-1], (shape[-1] + 7) // 8)
    assert torch.equal(unpacked(bits, shape[-1]).float(), spikes)


def test_an_output_is_reused_and_keeps_the_layout():
    x = draw(4, 6, 5, 3).to(memory_format=torch.channels_last)
    dynamics = neuron_dynamics()
    out = torch.full_like(x, 7)
    given, _, _ = fire(x, 2, form="float", out=out, output_scale=0.5, dynamics=dynamics)
    expected, _, _ = integrate_fire(x, 2, output_scale=0.5)
    assert given is out and torch.equal(out, expected)
    assert expected.is_contiguous(memory_format=torch.channels_last)
    counts, _, _ = fire(x, 2, dynamics=dynamics)
    assert counts.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(counts.float(), expected * 2)


def test_inference_forms_refuse_a_gradient():
    x = draw(2, 8).requires_grad_()
    for form in ("uint8", "bits", "float"):
        with pytest.raises(InputError, match="use integrate_fire for training"):
            fire(x, 1, form=form, dynamics=neuron_dynamics())
    with torch.no_grad():
        assert fire(x, 1, dynamics=neuron_dynamics())[0].dtype == torch.uint8


def test_inference_forms_refuse_what_does_not_fit():
    x, many = draw(2, 8), neuron_dynamics(300, "half_up", unit="count")
    with pytest.raises(ConfigError, match="holds counts up to 255, the neuron has 300"):
        fire(x, 1, dynamics=many)
    with pytest.raises(ConfigError, match="holds counts up to 1"):
        fire(x, 1, form="bits", dynamics=neuron_dynamics(2, unit="count"))
    with pytest.raises(ConfigError, match="form must be one of"):
        fire(x, 1, form="int8", dynamics=neuron_dynamics())
    with pytest.raises(InputError, match=r"out must be a torch.uint8 tensor \(2, 8\)"):
        fire(x, 1, out=torch.zeros(2, 8), dynamics=neuron_dynamics())
    with pytest.raises(InputError, match="out must be"):
        fire(x, 1, out=torch.zeros(3, 8, dtype=torch.uint8), dynamics=neuron_dynamics())
