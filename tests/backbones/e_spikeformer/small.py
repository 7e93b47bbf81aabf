"""Small members of both families, and statistics that let potentials fire."""

from __future__ import annotations

import torch
from torch import nn

from synfire.backbones import ESpikeFormer, ESpikeFormerLarge


def small_base(**options):
    chosen = {"num_classes": 5, "widths": (8, 8, 16, 24), "depths": (1, 1, 1, 1, 1), "heads": 2}
    return ESpikeFormer(**chosen | options)


def small_large(**options):
    chosen = {"num_classes": 5, "widths": (8, 8, 16), "depths": (1, 1, 1, 2), "heads": 2}
    return ESpikeFormerLarge(**chosen | options)


@torch.no_grad()
def calibrated(net, x):
    """Running statistics of the batch ``x`` in every BatchNorm, then eval: before, nearly nothing fires."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
    net.train()(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net.eval()
