"""Readers of real data and transforms; no model knowledge.

``load_dataset(name, **options)`` gives :class:`Splits`: train, validation and test images as
batches in [0, 1], class names, channels and image size.
"""

from synfire.datasets.cifar import Cifar10, Cifar100
from synfire.datasets.digits import Digits
from synfire.datasets.idx import FashionMnist, Idx, Mnist, read_idx
from synfire.datasets.image_folder import ImageFolder
from synfire.datasets.imagenet import ImageNet, Photographs
from synfire.datasets.images import FileImages, Images, Splits, TensorImages, hold_out
from synfire.datasets.mixing import MixedLabels, Mixing
from synfire.datasets.pictures import AugmentedImages, PictureAugmentation
from synfire.datasets.rand_augment import RandAugment
from synfire.datasets.registry import Dataset, FolderDataset, datasets, load_dataset
from synfire.datasets.transforms import Augmentation, normalise

__all__ = [
    "Augmentation",
    "AugmentedImages",
    "Cifar10",
    "Cifar100",
    "Dataset",
    "Digits",
    "FashionMnist",
    "FileImages",
    "FolderDataset",
    "Idx",
    "ImageFolder",
    "ImageNet",
    "Images",
    "MixedLabels",
    "Mixing",
    "Mnist",
    "Photographs",
    "PictureAugmentation",
    "RandAugment",
    "Splits",
    "TensorImages",
    "datasets",
    "hold_out",
    "load_dataset",
    "normalise",
    "read_idx",
]
