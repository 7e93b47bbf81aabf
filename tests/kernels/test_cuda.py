"""On a CUDA device the operators give the counts and gradients of the CPU, bit for bit in float32 and float64."""

from __future__ import annotations

import pytest
import torch

import synfire
from synfire.encoders import Direct, Poisson
from synfire.neurons import IF, LIF, CubaLIF, IntegerLIF, ParametricLIF

pytestmark = pytest.mark.gpu

NEURONS = {
    "if": lambda t: IF(t, threshold=0.3),
    "lif": lambda t: LIF(t, decay=0.9, threshold=0.7, reset="hard"),
    "parametric": lambda t: ParametricLIF(
        t, decay=0.9, threshold=0.05, channels=5, learn_threshold=True
    ),
    "cuba": lambda t: CubaLIF(t, current_decay=0.9, decay=0.8),
    "integer": lambda t: IntegerLIF(4, t, decay=0.9, threshold=0.3),
    "integer, even": lambda t: IntegerLIF(15, t, decay=0.25, rounding="half_even"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("timesteps", [1, 4])
@pytest.mark.parametrize("name", NEURONS)
def test_counts_and_gradients_equal_those_of_the_cpu(name, timesteps, dtype):
    torch.manual_seed(0)
    neuron = NEURONS[name](timesteps)
    x = torch.randn(timesteps * 3, 5, 63, dtype=dtype) * 2
    results = []
    for device in ("cpu", "cuda"):
        net = synfire.TimeFolded(neuron, timesteps, readout="none").to(device)
        neuron.zero_grad()
        moved = x.to(device).unflatten(0, (timesteps, -1)).requires_grad_()
        out = net(moved)
        out.backward(
            torch.linspace(-1, 1, out.numel(), dtype=dtype, device=device).reshape(out.shape)
        )
        learned = [
            p.grad.cpu().clone() for p in neuron.parameters()
        ]  # moving the net moves gradients
        results.append((out.detach().cpu(), moved.grad.cpu(), learned))
    (out, grad, learned), (out_cuda, grad_cuda, learned_cuda) = results
    assert out.abs().sum() > 0
    assert torch.equal(out, out_cuda)
    if name == "parametric":  # sigmoid and exp round differently on the two devices
        torch.testing.assert_close(grad_cuda, grad, rtol=1e-4, atol=1e-5)
    else:
        torch.testing.assert_close(grad_cuda, grad, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(learned_cuda, learned, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_float32_membranes(dtype):
    x = torch.randn(8, 5, 63, device="cuda").to(dtype)
    out, state = synfire.functional.lif(x, decay=0.9)
    expected, _ = synfire.functional.lif(x.cpu(), decay=0.9)
    assert out.dtype == dtype and state["v"].dtype == torch.float32
    assert torch.equal(out.cpu(), expected)


def test_a_model_trains_streams_and_draws_on_the_device():
    torch.manual_seed(0)
    net = synfire.create_model("spiking_cnn_tiny", num_classes=3, timesteps=2).cuda()
    images = torch.rand(8, 1, 8, 8, device="cuda")
    labels = torch.arange(8, device="cuda") % 3
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2
    net = net.double().eval()
    stream = synfire.Stream(net)
    steps = torch.stack([stream(images.double()) for _ in range(2)])
    torch.testing.assert_close(steps.mean(0), net(images.double()))
    net.encoder = Poisson()
    draws = [
        net(images.double(), generator=torch.Generator("cuda").manual_seed(0)) for _ in range(2)
    ]
    assert torch.equal(*draws)
    net.encoder = Direct()
    compiled = torch.compile(net, fullgraph=True)
    torch.testing.assert_close(compiled(images.double()), net(images.double()))
