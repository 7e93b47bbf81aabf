from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from synfire.core.errors import ConfigError, DataError
from synfire.datasets import ImageNet, Photographs, PictureAugmentation, load_dataset
from synfire.datasets.imagenet import MEAN, STD
from synfire.datasets.pictures import resize_and_crop
from tests.photographs import make_imagenet


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_imagenet(tmp_path_factory.mktemp("imagenet"))


def test_parts_and_classes(root: Path) -> None:
    splits = load_dataset("imagenet", root=str(root), size=16, resize=18, validation=0.25)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (9, 3, 6)
    assert splits.classes == ("class_0", "class_1", "class_2")
    assert (splits.in_channels, splits.image_size) == (3, (16, 16))
    assert splits.test.targets(torch.tensor([0, 5])).tolist() == [0, 2]
    assert isinstance(splits.train, Photographs)  # nothing is decoded beforehand


def test_a_batch_is_resized_cut_and_normalised(root: Path) -> None:
    test = ImageNet(root=str(root), size=16, resize=18).load().test
    raw = ImageNet(root=str(root), size=16, resize=18, normalised=False).load().test
    with Image.open(root / "val" / "class_1" / "1.jpg") as image:
        cut = np.asarray(resize_and_crop(image.convert("RGB"), 18, 16, "bicubic"))
    expected = torch.from_numpy(cut / 255.0).permute(2, 0, 1).float()
    index = torch.tensor([3])
    torch.testing.assert_close(raw.batch(index)[0], expected)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    torch.testing.assert_close(test.batch(index)[0], (expected - mean) / std)


def test_training_images_depend_on_their_own_generator_alone(root: Path) -> None:
    train = ImageNet(root=str(root), size=16, resize=18).load().train
    augment = PictureAugmentation(rand_augment="m9-mstd0.5-inc1", erase=1.0)

    def batch(*indices: int) -> torch.Tensor:
        rngs = [np.random.default_rng(index) for index in indices]
        return train.augmented(torch.tensor(indices), augment, rngs)  # type: ignore[attr-defined]

    together = batch(4, 1, 7)
    assert together.shape == (3, 3, 16, 16)
    assert torch.equal(together[1], batch(1)[0])
    raw = ImageNet(root=str(root), size=16, resize=18, normalised=False).load().train
    plain = raw.augmented(torch.tensor([0]), augment, [np.random.default_rng(0)])  # type: ignore[attr-defined]
    assert 0 <= plain.min() < plain.max() <= 1


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be positive and at most"):
        ImageNet(root=str(root), size=32, resize=16).load()
    with pytest.raises(ConfigError, match="bicubic or bilinear"):
        ImageNet(root=str(root), size=16, resize=0, interpolation="nearest").load()
    with pytest.raises(DataError, match="train is missing"):
        ImageNet(root=str(tmp_path)).load()
    broken = make_imagenet(tmp_path / "broken", classes=2, train=1, val=1)
    (broken / "val" / "class_0" / "0.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot be read as an image"):
        ImageNet(root=str(broken), size=16, resize=0).load()
