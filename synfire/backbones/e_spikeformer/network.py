"""What the spike-driven transformers share: stages, features, the head, and how options become neurons."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.core.time import Encoder, Folded
from synfire.encoders import Direct
from synfire.layers import NeuronFactory
from synfire.neurons import IntegerLIF
from synfire.neurons.integer_lif import PRESETS

SFA: dict[str, Any] = {"levels": 4, "decay": 1.0, "detach_reset": False}
"""The canonical spike-firing-approximation neuron: half-up, inclusive window; integrates without leak if T > 1."""

NEURONS: dict[str, dict[str, Any]] = {"sfa": SFA, **PRESETS}

_CONVOLUTIONAL = 3  # stages before the transformer blocks

Net = TypeVar("Net", bound="SpikeFormer")


class Stage(nn.Module):
    """Down-sampling, then blocks; potentials in and out.

    Attributes:
        down: the down-sampling module; ``blocks``: a Sequential of blocks on its output.
    """

    def __init__(self, down: nn.Module, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.down = down
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.down(x))
        return out


class SpikeFormer(Folded):
    """Stages, then the mean potential over all positions, a neuron and a linear classifier.

    Subclasses build the stages and may replace ``classify``.

    Args:
        stages: from input to last potentials.
        strides: of the down-sampling modules, one a stage.
        channels: of the stages' outputs.
        head_neuron: fires on pooled potentials, with counts unscaled.
        features_only: no head; the net gives the potentials for dense tasks, as :meth:`features` does.

    Attributes:
        stages: list of :class:`Stage`.
        feature_channels, feature_strides: of the maps that :meth:`features` gives.
        options: the arguments of a named model, defaults among them: what ``config.json`` keeps.
    """

    options: dict[str, Any]

    def __init__(
        self,
        stages: list[Stage],
        strides: tuple[int, ...],
        channels: tuple[int, ...],
        head_neuron: nn.Module,
        num_classes: int,
        timesteps: int,
        encoder: Encoder | None,
        readout: str,
        features_only: bool,
    ) -> None:
        super().__init__(timesteps, encoder or Direct(), readout, sample_ndim=3)
        self.stages = nn.ModuleList(stages)
        self.num_classes, self.features_only = num_classes, features_only
        self._feature_stages = (0, 1, 2, len(stages) - 1)
        self.feature_channels = [channels[index] for index in self._feature_stages]
        self.feature_strides = [_product(strides[: index + 1]) for index in self._feature_stages]
        if not features_only:
            self.head_neuron = head_neuron
            self.head = nn.Linear(channels[-1], num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Folded images [T*B, C, H, W] to the potentials of the last stage."""
        for stage in self.stages:
            x = stage(x)
        return x

    def features(self, x: Tensor) -> list[Tensor]:
        """Folded images [T*B, C, H, W] to folded potentials at ``feature_strides``, finest first."""
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self._feature_stages:
                maps.append(x)
        return maps

    def parameter_layers(self) -> dict[str, int]:
        """Layer of every parameter, for learning rates that fall from layer to layer.

        The convolutional stages are 0, transformer block i is i + 1, heads come after the last; a down-sampling module
        belongs to the layer before it.
        """
        layers: dict[str, int] = {}
        layer = 0
        for index, stage in enumerate(cast("Iterable[Stage]", self.stages)):
            blocks = ((f"blocks.{place}", block) for place, block in enumerate(stage.blocks))
            for path, part in (("down", stage.down), *blocks):
                layer += index >= _CONVOLUTIONAL and path != "down"
                layers |= {
                    f"stages.{index}.{path}.{name}": layer for name, _ in part.named_parameters()
                }
        return {name: layers.get(name, layer + 1) for name, _ in self.named_parameters()}

    def classify(self, pooled: Tensor) -> Any:
        """Mean potentials [T*B, C] to logits [T*B, num_classes]."""
        return self.head(self.head_neuron(pooled))

    def forward_steps(self, x: Tensor) -> Any:
        if self.features_only:
            return self.features(x)
        return self.classify(self.forward_features(x).mean((2, 3)))

    def read(self, out: Any) -> Any:
        """The readout of a folded output, or of each of several."""
        if isinstance(out, list | tuple):
            return type(out)(Folded.read(self, part) for part in out)
        return super().read(out)


class DistilledSpikeFormer(SpikeFormer):
    """A spike-former whose ``head`` reads the pooled potentials themselves and ``head_kd`` their counts.

    ``head_kd`` learns from a teacher. With both, training returns the pair of logits and eval their mean.

    Args:
        arguments: of :class:`SpikeFormer`.
        distillation_head: whether ``head_kd`` is there.
    """

    def __init__(self, *arguments: Any, distillation_head: bool) -> None:
        super().__init__(*arguments)
        self.head_kd: nn.Linear | None = None
        if distillation_head and not self.features_only:
            self.head_kd = nn.Linear(self.feature_channels[-1], self.num_classes)
        elif not self.features_only:
            del self.head_neuron  # ``head`` reads potentials

    def classify(self, pooled: Tensor) -> Any:
        """Mean potentials [T*B, C] to logits; with ``head_kd``, to both in training and their mean in eval."""
        logits = self.head(pooled)
        if self.head_kd is None:
            return logits
        distilled = self.head_kd(self.head_neuron(pooled))
        return (logits, distilled) if self.training else logits / 2 + distilled / 2


def _product(values: Iterable[int]) -> int:
    total = 1
    for value in values:
        total *= value
    return total


def neuron_factory(
    neuron: str,
    levels: int | None,
    timesteps: int,
    rounding: str | None = None,
    window: str | None = None,
    **overrides: Any,
) -> NeuronFactory:
    """A factory of the neurons of a model.

    Args:
        neuron: ``sfa`` or a preset of :class:`synfire.neurons.IntegerLIF`.
        levels: D; None: that of the preset.
        rounding, window: instead of those of the preset.
    """
    if neuron not in NEURONS:
        raise UnknownNameError("neuron of a spike-driven transformer", neuron, NEURONS)
    chosen = {"levels": levels, "rounding": rounding, "window": window}
    given = {key: value for key, value in chosen.items() if value is not None}
    return partial(IntegerLIF, **NEURONS[neuron] | given | overrides, timesteps=timesteps)


def check_sizes(
    num_classes: int,
    in_channels: int,
    heads: int,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    stem_strides: tuple[int, ...],
    stages: int,
) -> None:
    """Refuse sizes that build no net of so many stages; a stage without blocks is one."""
    if min(num_classes, in_channels, heads) < 1:
        raise ConfigError(
            f"num_classes, in_channels and heads must be positive, got {num_classes}, {in_channels}, {heads}."
        )
    for name, values, length, least in (
        ("widths", widths, stages - 1, 2),
        ("depths", depths, stages, 0),
        ("stem_strides", stem_strides, stages, 1),
    ):
        if len(values) != length or min(values) < least:
            raise ConfigError(
                f"{name} takes {length} integers of at least {least}, got {tuple(values)}."
            )


def rising_rates(rate: float, blocks: int) -> list[float]:
    """Rates of stochastic depth, linearly from 0 to ``rate``."""
    return [rate * index / max(1, blocks - 1) for index in range(blocks)]


def initialise_linear(module: nn.Module) -> None:
    """Truncated normal weights of standard deviation 0.02 and zero biases in linear layers."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def build(family: Callable[..., Net], published: dict[str, Any], options: dict[str, Any]) -> Net:
    """A named model: ``published`` options overridden by ``options``; ``net.options`` holds all of them."""
    chosen = inspect.signature(family).bind(**(published | options))
    chosen.apply_defaults()
    arguments = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in chosen.arguments.items()
    }
    net = family(**arguments)
    net.options = arguments  # a saved model outlives a change of the defaults
    return net
