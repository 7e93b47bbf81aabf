"""Readers of real data and transforms; no model knowledge.

``load_dataset(name, **options)`` gives :class:`Splits`: train, validation and test images as
batches in [0, 1], class names, channels and image size.
"""

from synfire.datasets.cifar import Cifar10, Cifar100
from synfire.datasets.digits import Digits
from synfire.datasets.idx import FashionMnist, Idx, Mnist, read_idx
from synfire.datasets.image_folder import ImageFolder
from synfire.datasets.images import FileImages, Images, Splits, TensorImages, hold_out
from synfire.datasets.registry import Dataset, FolderDataset, datasets, load_dataset
from synfire.datasets.transforms import Augmentation, normalise

__all__ = [
    "Augmentation",
    "Cifar10",
    "Cifar100",
    "Dataset",
    "Digits",
    "FashionMnist",
    "FileImages",
    "FolderDataset",
    "Idx",
    "ImageFolder",
    "Images",
    "Mnist",
    "Splits",
    "TensorImages",
    "datasets",
    "hold_out",
    "load_dataset",
    "normalise",
    "read_idx",
]
