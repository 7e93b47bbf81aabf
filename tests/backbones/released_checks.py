"""What the tests of every released layout do: random weights in, equal answers and gradients out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from synfire.core.released import LoadReport, load_released

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def randomise(net: nn.Module, *inputs: Any, seed: int = 0) -> nn.Module:
    """Random values for every tensor of an oracle in float64, in eval: weights keep the variance, BatchNorm statistics
    are those of ``inputs``, each then moved at random, so that spikes get through and no two tensors are alike."""
    generator = torch.Generator().manual_seed(seed)
    net.double()
    for parameter in net.parameters():
        noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) - 0.5
        if parameter.ndim < 2 or parameter.numel() == max(parameter.shape):
            parameter.copy_(noise + (0.5 if (parameter == 0).all() else 1.2))
        else:
            parameter.copy_(noise * (12 / parameter[0].numel()) ** 0.5)
    norms = [module for module in net.modules() if isinstance(module, BATCH_NORMS)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    net.train()(*inputs)
    for index, norm in enumerate(norms):
        norm.momentum = 0.1
        norm.num_batches_tracked.fill_(100 + index)
        spread = norm.running_var.sqrt()
        norm.running_mean.add_(_noise(spread, generator, 0.6) * spread)
        norm.running_var.mul_(1 + _noise(spread, generator, 0.8))
    return net.eval()


def _noise(like: Tensor, generator: torch.Generator, width: float) -> Tensor:
    return width * (torch.rand(like.shape, generator=generator, dtype=torch.float64) - 0.5)


@torch.no_grad()
def forget(net: nn.Module) -> None:
    """NaN in every float tensor and -1 in every counter: what stays so was not loaded."""
    for tensor in net.state_dict().values():
        tensor.fill_(float("nan") if tensor.is_floating_point() else -1)


def forgotten(net: nn.Module) -> list[str]:
    """Names of tensors that are still as :func:`forget` left them, in any element."""
    return [
        name
        for name, tensor in net.state_dict().items()
        if bool(tensor.isnan().any() if tensor.is_floating_point() else (tensor == -1).any())
    ]


def load_whole(net: nn.Module, upstream: nn.Module) -> LoadReport:
    """Load the oracle's state; every tensor of both must take part, exactly."""
    forget(net.double())
    theirs = upstream.state_dict()
    report = load_released(net, theirs)
    assert forgotten(net) == []
    assert report.complete and not report.counters
    assert report.loaded.keys() | report.copies.keys() | report.unused.keys() == theirs.keys()
    ours = net.state_dict()
    for name, target in report.loaded.items():
        assert torch.equal(theirs[name].flatten(), ours[target].flatten()), name
    return report


def assert_close(ours: Any, theirs: Any, tolerance: float = 1e-9) -> None:
    """Equal within ``tolerance`` of the largest value, and not all alike."""
    ours, theirs = ours.detach(), theirs.detach()
    assert theirs.shape == ours.shape
    assert float(theirs.std()) > 0
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


def assert_equal_gradients(
    net: nn.Module, upstream: nn.Module, report: LoadReport, tolerance: float = 1e-9
) -> None:
    """Gradients of all loaded parameters, each against the size of the largest; most are not zero."""
    ours, theirs = dict(net.named_parameters()), dict(upstream.named_parameters())
    largest = max(float(p.grad.abs().max()) for p in theirs.values() if p.grad is not None)
    compared = 0
    for name, target in report.loaded.items():
        if name not in theirs or not theirs[name].requires_grad:
            continue
        expected = theirs[name].grad
        got = ours[target].grad.reshape(expected.shape)
        assert float((got - expected).abs().max()) <= tolerance * largest, name
        compared += int(float(expected.abs().max()) > 0)
    assert compared > 0.9 * sum(p.requires_grad for p in theirs.values())


def assert_every_tensor_counts(
    net: nn.Module, upstream: nn.Module, answers: Any, skip: Iterable[str] = ()
) -> None:
    """Turning any one float tensor of the checkpoint over changes what the net answers."""
    state = upstream.state_dict()
    load_released(net, state)
    with torch.no_grad():
        before = answers()
        for name, tensor in state.items():
            if not tensor.is_floating_point() or name in skip:
                continue
            load_released(net, {**state, name: tensor.flatten().flip(0).reshape(tensor.shape)})
            after = answers()
            assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), name
