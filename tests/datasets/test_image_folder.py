from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from synfire.core.errors import DataError
from synfire.datasets import load_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_reads_class_folders(root: Path) -> None:
    splits = load_dataset("image_folder", root=str(root))
    assert (len(splits.train), len(splits.test)) == (6, 4)
    assert splits.classes == ("cat", "dog")
    assert splits.image_size == (6, 8)
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = np.array(Image.open(root / "train" / "dog" / "1.png")).transpose(2, 0, 1)
    pixels = splits.train.batch(torch.tensor([4]))[0]
    assert torch.equal(pixels, torch.from_numpy(expected).float() / 255)


def test_lazy_and_eager_agree(root: Path) -> None:
    options = {"root": str(root), "channels": 1, "validation": 0.34}
    eager = load_dataset("image_folder", **options)
    lazy = load_dataset("image_folder", lazy=True, **options)
    every = torch.arange(len(eager.train))
    assert torch.equal(eager.train.batch(every), lazy.train.batch(every))
    assert len(eager.validation) == len(lazy.validation) == 2
    assert eager.in_channels == 1


def test_wrong_size_is_an_error_unless_resized(root: Path) -> None:
    odd = root / "test" / "dog" / "1.png"
    Image.new("RGB", (9, 6)).save(odd)
    with pytest.raises(DataError, match=r"1\.png: expected an image of 6 x 8 pixels, got 6 x 9"):
        load_dataset("image_folder", root=str(root))
    assert load_dataset("image_folder", root=str(root), resize=True).image_size == (6, 8)
    small = load_dataset("image_folder", root=str(root), resize=True, size=(4, 4))
    assert small.image_size == (4, 4)


def test_broken_image_names_the_file(root: Path) -> None:
    file = root / "train" / "cat" / "2.png"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=r"cat/2\.png cannot be read as an image"):
        load_dataset("image_folder", root=str(root))


def test_folders_must_agree(root: Path) -> None:
    (root / "test" / "bird").mkdir()
    with pytest.raises(DataError, match="expected the classes cat, dog; these differ: bird"):
        load_dataset("image_folder", root=str(root))
    (root / "test" / "bird").rmdir()
    for file in (root / "test" / "cat").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"test/cat holds no image"):
        load_dataset("image_folder", root=str(root))
    with pytest.raises(DataError, match=r"train is missing"):
        load_dataset("image_folder", root=str(root / "test"))


@pytest.mark.realdata
def test_real_cifar_subset(data_root: Path) -> None:
    folder = data_root / "image/cifar10-subset"
    splits = load_dataset("image_folder", root=str(folder), size=(32, 32))
    assert (len(splits.train), len(splits.test)) == (1000, 300)
    assert splits.classes[:2] == ("airplane", "automobile")
    assert splits.train.labels.bincount().tolist() == [100] * 10
