"""Models: one family a file, entered in the registry by name. Importing this fills the registry."""

from pathlib import Path

from synfire.backbones.e_spikeformer import ESpikeFormer, ESpikeFormerLarge
from synfire.backbones.meta_spikeformer import MetaSpikeFormer
from synfire.backbones.spiking_cnn import SpikingCNN
from synfire.core.registry import pretrained

__all__ = ["ESpikeFormer", "ESpikeFormerLarge", "MetaSpikeFormer", "SpikingCNN"]

for _folder in sorted((Path(__file__).parent / "pretrained").glob("*__*")):
    _model, _weights = _folder.name.split("__")
    pretrained.add(f"{_model}/{_weights}", str(_folder))
