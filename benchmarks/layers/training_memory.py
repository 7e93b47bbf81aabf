"""What a block of convolution, BatchNorm and neuron keeps for its backward pass, in bytes an element.

The block feeds another convolution, which keeps the spikes for the gradient of its weight. The input of the block is
not counted: it belongs to whoever made it. Counted is what is alive between forward and backward
(:func:`benchmarks.memory.kept_bytes`), so the figures hold for every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.harness import Outcome, Target
from benchmarks.layers.chain import OnFrames
from benchmarks.memory import kept_bytes
from benchmarks.peers import DECAY, LEVELS, Net
from synfire import packed_activations
from synfire.core.time import TimeContext, time_context
from synfire.layers import fuse_norms
from synfire.neurons import LIF, IntegerLIF

THREADS = (1,)
BATCH, CHANNELS, SIZE = 8, 32, 16


def _integer(timesteps: int) -> nn.Module:
    return IntegerLIF(LEVELS, timesteps)


def _lif(timesteps: int) -> nn.Module:
    return LIF(timesteps, decay=DECAY, reset="hard", surrogate="arctan")


def _binary(timesteps: int) -> nn.Module:
    return LIF(timesteps, decay=DECAY, surrogate="rectangle")


KINDS: dict[str, Callable[[int], nn.Module]] = {
    "integer LIF, 4 levels": _integer,
    "LIF, rectangle": _binary,
    "LIF, arctan, hard reset": _lif,
}


def _block(neuron: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
        nn.BatchNorm2d(CHANNELS),
        neuron,
    )


def kept(block: nn.Module, timesteps: int, dtype: torch.dtype, packed: bool = False) -> float:
    """Bytes an element of the block and the convolution behind it, in autocast where ``dtype`` is half precision."""
    behind = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
    x = torch.randn(timesteps * BATCH, CHANNELS, SIZE, SIZE).to(dtype)

    def forward() -> Tensor:
        with (
            time_context(TimeContext(timesteps)),
            torch.autocast("cpu", dtype, enabled=dtype != torch.float32),
        ):
            out: Tensor = behind(block(x))
        return out

    if packed:
        with packed_activations():
            count = kept_bytes(forward)
    else:
        count = kept_bytes(forward)
    # Small in any real net: the statistics of the norm, and autocast's copies of both weights.
    statistics = 2 * 4 * CHANNELS
    weights = 0 if dtype == torch.float32 else 2 * behind.weight.numel() * x.element_size()
    return (count - weights - statistics) / x.numel()


def _others(timesteps: int) -> dict[str, nn.Module]:
    found: dict[str, Net] = {"torch loop, LIF": peers.lif_loop}
    if find_spec("spikingjelly"):
        found |= peers.spikingjelly_forms(torch.float32, "cpu")
        found |= peers.spikingjelly_integer_forms(torch.float32, "cpu")
    return {name: _block(OnFrames(neuron, timesteps)) for name, neuron in found.items()}


def run() -> Outcome:
    """T = 1 and T = 4 in float32 and in bfloat16 autocast."""
    memory: dict[str, dict[str, float]] = {}
    targets = []
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16 autocast")):
        for timesteps in (1, 4):
            size = torch.empty((), dtype=dtype).element_size()
            figures = {"ReLU": kept(_block(nn.ReLU()), timesteps, dtype)}
            figures |= {
                other: kept(block, timesteps, dtype) for other, block in _others(timesteps).items()
            }
            title = f"conv-BN-neuron-conv, {name}, T={timesteps}"
            for kind, neuron in KINDS.items():
                figures[f"{kind}: two operators"] = kept(
                    _block(neuron(timesteps)), timesteps, dtype
                )
                fused = fuse_norms(_block(neuron(timesteps)))
                figures[f"{kind}: one operator"] = kept(fused, timesteps, dtype)
                last = f"{kind}: one operator, packed"
                figures[last] = kept(fused, timesteps, dtype, packed=True)
                spikes = 1 / 2 if "integer" in kind else 1 / 8
                bound = size + (1 / 8 if timesteps == 1 else 5 / 8) + spikes
                measure = f"{title}, kept: {last}"
                if "rectangle" not in kind:
                    targets.append(
                        Target("any", measure, bound, figures[last], "bytes", at_most=True)
                    )
            memory[f"{title}: bytes an element kept"] = figures
    return Outcome({}, targets, memory, {"absent peers": peers.absent()})
