"""Neurons as plain loops over one timestep after the other, written from their docstrings."""

from __future__ import annotations

import torch

from synfire import TimeFolded


def leaky(x, decay, threshold=1.0, gain=1.0, reset="soft", reset_value=0.0, fires=None):
    """Spikes [T, B, ...] and last membrane of a leaky integrate-and-fire neuron."""
    v, spikes = torch.zeros_like(x[0]), []
    for x_t in x:
        h = decay * v + gain * x_t
        s = (h >= threshold).to(x) if fires is None else fires(h)
        spikes.append(s)
        if reset == "soft":
            v = h - threshold * s
        elif reset == "hard":
            v = torch.where(s > 0, torch.full_like(h, reset_value), h)
        else:
            v = h
    return torch.stack(spikes), v


def folded(neuron, x):
    """A neuron on [T, B, ...]."""
    return TimeFolded(neuron, timesteps=x.shape[0], readout="none")(x)


def drive(*shape, dtype=torch.float64):
    return (torch.randn(shape, dtype=dtype) * 1.2 + 0.4).requires_grad_()
