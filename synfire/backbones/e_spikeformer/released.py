"""Released weights of Spike-driven Transformer V3: base family and large family."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from synfire.backbones.e_spikeformer.base import ESpikeFormer
from synfire.backbones.e_spikeformer.large import ESpikeFormerLarge
from synfire.core.errors import CheckpointError
from synfire.core.neuron import named_neurons
from synfire.core.registry import released_layouts
from synfire.core.released import ReleasedLayout, Shapes, Unused, rename
from synfire.neurons import IntegerLIF

Rules = tuple[tuple[str, str], ...]

SIZES: dict[tuple[int, ...], str] = {
    (24, 48, 96, 128): "t",
    (32, 64, 128, 192): "s",
    (48, 96, 192, 240): "m",
    (64, 128, 256, 360): "l",
}
STEM: Rules = (
    (r"^downsample1_1\.", "stages.0.down."),
    (r"^downsample1_2\.", "stages.1.down."),
    (r"^downsample([234])\.", r"stages.\1.down."),
    (r"^(stages\.\d\.down)\.encode_conv\.", r"\1.conv.0."),
    (r"^(stages\.\d\.down)\.encode_bn\.", r"\1.conv.1."),
    (r"^ConvBlock1_1\.", "stages.0.blocks."),
    (r"^ConvBlock1_2\.", "stages.1.blocks."),
    (r"^ConvBlock2_1\.0\.", "stages.2.blocks.0."),
    (r"^ConvBlock2_2\.0\.", "stages.2.blocks.1."),
    (r"^block([34])\.", r"stages.\1.blocks."),
)
MLP: Rules = (
    (r"\.mlp\.fc1_conv\.", ".mlp.expand.0."),
    (r"\.mlp\.fc1_bn\.", ".mlp.expand.1."),
    (r"\.mlp\.fc2_conv\.", ".mlp.project.0."),
    (r"\.mlp\.fc2_bn\.", ".mlp.project.1."),
)
BASE: Rules = (
    *STEM,
    (r"\.[Cc]onv\.pwconv1\.", ".separable.expand."),
    (r"\.[Cc]onv\.dwconv\.", ".separable.depthwise."),
    (r"\.[Cc]onv\.pwconv2\.", ".separable.project."),
    (r"(blocks\.\d+)\.conv1\.", r"\1.dense.expand.0."),
    (r"(blocks\.\d+)\.bn1\.", r"\1.dense.expand.1."),
    (r"(blocks\.\d+)\.conv2\.", r"\1.dense.project.0."),
    (r"(blocks\.\d+)\.bn2\.", r"\1.dense.project.1."),
    (r"\.attn\.([qkv])_conv\.", r".attention.\1.product."),
    (r"\.attn\.proj_conv\.", ".attention.project."),
    *MLP,
)
LARGE: Rules = (
    *STEM,
    (r"(blocks\.\d+)\.conv1\.0\.", r"\1.dense.expand."),
    (r"(blocks\.\d+)\.conv2\.0\.", r"\1.dense.project."),
    (r"\.rep_conv\.conv1\.", ".rep_conv.1.first."),
    (r"\.rep_conv\.conv2\.", ".rep_conv.1.second."),
    (r"\.attn\.([qkv])_conv\.", r".attention.\1.product."),
    (r"\.attn\.proj_conv\.", ".attention.project."),
    (r"(\.product|\.project)\.0\.conv1\.", r"\1.first."),
    (r"(\.product|\.project)\.0\.conv2\.", r"\1.second."),
    (r"(\.product|attention\.project)\.1\.(?=\w+$)", r"\1.outer."),
    *MLP,
)


class _Layout(ReleasedLayout):
    """What the families have in common."""

    rules: Rules
    family: type[nn.Module]
    variant: dict[str, str]

    def takes(self, net: nn.Module) -> bool:
        return isinstance(net, self.family)

    def place(self, name: str, net: nn.Module) -> str | Unused:
        return rename(name, self.rules)

    def replaceable(self, name: str, net: nn.Module) -> bool:
        """The classifiers, and the first convolution where only the channels of the input differ."""
        return name.startswith(("head.", "head_kd.")) or name == "stages.0.down.conv.0.weight"

    def set_neurons(self, net: nn.Module) -> dict[str, Any]:
        return set_variant(net, **self.variant)


class BaseLayout(_Layout):
    """Names of the base family's own code."""

    title = "Spike-driven Transformer V3, base family"
    rules, family = BASE, ESpikeFormer
    variant = {"rounding": "half_even", "window": "inclusive"}  # noqa: RUF012

    def recognises(self, shapes: Shapes) -> bool:
        return {"downsample4.encode_conv.weight", "block4.0.attn.q_conv.0.weight"} <= shapes.keys()

    def fitting(self, shapes: Shapes, net: nn.Module | None = None) -> tuple[str, dict[str, Any]]:
        widths = tuple(shapes[f"downsample{i}.encode_conv.weight"][0] for i in ("1_2", 2, 3, 4))
        options: dict[str, Any] = {} if widths in SIZES else {"widths": widths}
        depths = (1, 1, 2, count(shapes, "block3"), count(shapes, "block4"))
        if depths != (1, 1, 2, 6, 2):
            options["depths"] = depths
        options |= mlp_ratio(shapes) | ends(shapes) | {"neuron": "sfa_base"}
        return f"e_spikeformer_{SIZES.get(widths, 't')}", options


class LargeLayout(_Layout):
    """Names of the large family as it is fine-tuned."""

    title = "Spike-driven Transformer V3, large family (fine-tuned)"
    rules, family = LARGE, ESpikeFormerLarge
    variant = {"rounding": "half_up", "window": "exclusive"}  # noqa: RUF012

    def recognises(self, shapes: Shapes) -> bool:
        return {"downsample3.encode_conv.weight", "block3.0.layer_scale1"} <= shapes.keys()

    def fitting(self, shapes: Shapes, net: nn.Module | None = None) -> tuple[str, dict[str, Any]]:
        return large_model(shapes)


def large_model(shapes: Shapes) -> tuple[str, dict[str, Any]]:
    """Name and options of the large model that has a checkpoint's encoder (and heads, if any)."""
    widths = tuple(shapes[f"downsample{i}.encode_conv.weight"][0] for i in ("1_2", 2, 3))
    middle = shapes.get("block3.0.rep_conv.conv1.0.weight", (0,))[0]
    name = "e_spikeformer_83m" if middle else "e_spikeformer_173m"
    published = {"e_spikeformer_83m": (128, 256, 512), "e_spikeformer_173m": (196, 384, 768)}
    options: dict[str, Any] = {} if widths == published[name] else {"widths": widths}
    if middle not in (0, widths[-1]):
        options["rep_conv_ratio"] = middle / widths[-1]
    if (depth := count(shapes, "block3")) != 12:
        options["depths"] = (1, 1, 2, depth)
    if "head.weight" in shapes and "head_kd.weight" not in shapes:
        options["distillation_head"] = False
    return name, options | mlp_ratio(shapes) | ends(shapes) | {"neuron": "sfa_large"}


def count(shapes: Shapes, stage: str) -> int:
    """Blocks of a stage."""
    found = (re.match(rf"{stage}\.(\d+)\.", name) for name in shapes)
    return 1 + max(int(part[1]) for part in found if part)


def mlp_ratio(shapes: Shapes) -> dict[str, Any]:
    """The option of that name, where it is not 4."""
    middle, width = shapes["block3.0.mlp.fc1_conv.weight"][:2]
    return {} if middle == 4 * width else {"mlp_ratio": middle / width}


def ends(shapes: Shapes) -> dict[str, Any]:
    """Channels of the input and classes, where they are not 3 and 1000."""
    options = {}
    if (channels := shapes["downsample1_1.encode_conv.weight"][1]) != 3:
        options["in_channels"] = channels
    if (classes := shapes.get("head.weight", (1000,))[0]) != 1000:
        options["num_classes"] = classes
    return options


def set_variant(net: nn.Module, rounding: str, window: str) -> dict[str, Any]:
    """Rounding and gradient window of every neuron; outputs are counts / D, those of the head's neuron counts."""
    for path, neuron in named_neurons(net):
        if not isinstance(neuron, IntegerLIF):
            raise CheckpointError(
                f"{path} is a {type(neuron).__name__}, but the weights were trained with IntegerLIF: "
                "build the model with its own neurons."
            )
        neuron.constants |= {"rounding": rounding, "inclusive": window == "inclusive"}
        neuron.scale = 1.0 if path.endswith("head_neuron") else 1 / neuron.levels
    levels = max(neuron.levels for _, neuron in named_neurons(net))
    return {"rounding": rounding, "window": window, "levels": levels}


released_layouts.add("e_spikeformer_base", BaseLayout())
released_layouts.add("e_spikeformer_large", LargeLayout())
