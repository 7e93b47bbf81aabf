"""E-SpikeFormer, the spike-driven transformer of Yao et al. (TPAMI 2025): base and large families."""

from synfire.backbones.e_spikeformer.base import ESpikeFormer
from synfire.backbones.e_spikeformer.blocks import (
    MLP,
    ConvBlock,
    Downsample,
    SepConv,
    TransformerBlock,
)
from synfire.backbones.e_spikeformer.large import (
    DenseConvBlock,
    ESpikeFormerLarge,
    RepTransformerBlock,
    dense_stages,
)
from synfire.backbones.e_spikeformer.network import (
    DistilledSpikeFormer,
    SpikeFormer,
    Stage,
    neuron_factory,
)
from synfire.backbones.e_spikeformer.released import BaseLayout, LargeLayout

__all__ = [
    "MLP",
    "BaseLayout",
    "ConvBlock",
    "DenseConvBlock",
    "DistilledSpikeFormer",
    "Downsample",
    "ESpikeFormer",
    "ESpikeFormerLarge",
    "LargeLayout",
    "RepTransformerBlock",
    "SepConv",
    "SpikeFormer",
    "Stage",
    "TransformerBlock",
    "dense_stages",
    "neuron_factory",
]
