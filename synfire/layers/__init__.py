"""Pieces that several models share."""

from synfire.layers.activation import NeuronFactory, spike_activation
from synfire.layers.conv_norm import ConvNorm
from synfire.layers.depthwise_conv import DepthwiseConv2d
from synfire.layers.drop_path import DropPath
from synfire.layers.norm_neuron import NormNeuron, SpikingSequential, fuse_norms, norm_neuron
from synfire.layers.rep_conv import BorderedRepConv, RepConv, merge_rep_convs
from synfire.layers.residual import SpikingResidual
from synfire.layers.spike_attention import SpikeAttention, spike_attention

__all__ = [
    "BorderedRepConv",
    "ConvNorm",
    "DepthwiseConv2d",
    "DropPath",
    "NeuronFactory",
    "NormNeuron",
    "RepConv",
    "SpikeAttention",
    "SpikingResidual",
    "SpikingSequential",
    "fuse_norms",
    "merge_rep_convs",
    "norm_neuron",
    "spike_activation",
    "spike_attention",
]
