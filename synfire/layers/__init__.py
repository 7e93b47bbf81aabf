"""Pieces that several models share."""

from synfire.layers.activation import NeuronFactory, spike_activation
from synfire.layers.conv_norm import ConvNorm
from synfire.layers.depthwise_conv import DepthwiseConv2d
from synfire.layers.norm_neuron import NormNeuron, SpikingSequential, fuse_norms, norm_neuron
from synfire.layers.residual import SpikingResidual
from synfire.layers.spike_attention import SpikeAttention, spike_attention

__all__ = [
    "ConvNorm",
    "DepthwiseConv2d",
    "NeuronFactory",
    "NormNeuron",
    "SpikeAttention",
    "SpikingResidual",
    "SpikingSequential",
    "fuse_norms",
    "norm_neuron",
    "spike_activation",
    "spike_attention",
]
