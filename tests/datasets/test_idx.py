import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from synfire.core.errors import ConfigError, DataError
from synfire.datasets import load_dataset, read_idx


def idx_bytes(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for stem, count in (("train", 20), ("t10k", 6)):
        images = rng.integers(0, 256, (count, 28, 28))
        labels = np.arange(count) % 10
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    return tmp_path


def test_reads_raw_and_gzipped_files(folder: Path) -> None:
    splits = load_dataset("mnist", root=str(folder))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (20, 0, 6)
    assert splits.in_channels == 1
    assert splits.image_size == (28, 28)
    raw = read_idx(folder / "train-images-idx3-ubyte")
    batch = splits.train.batch(torch.tensor([3, 1]))
    assert torch.equal(batch[:, 0], torch.from_numpy(raw[[3, 1]]).float() / 255)
    assert splits.test.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_reads_wider_types_big_endian(tmp_path: Path) -> None:
    content = bytes([0, 0, 0x0C, 1]) + struct.pack(">I", 2) + struct.pack(">2i", -5, 70000)
    (tmp_path / "x").write_bytes(content)
    assert read_idx(tmp_path / "x").tolist() == [-5, 70000]


@pytest.mark.parametrize("keep", [0, 3, 10, 900])
def test_truncation_names_file_and_expectation(folder: Path, keep: int) -> None:
    file = folder / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte is .*(truncated|not an idx file)"):
        load_dataset("mnist", root=str(folder))


def test_truncated_gzip(folder: Path) -> None:
    file = folder / "train-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz is a damaged or truncated"):
        load_dataset("mnist", root=str(folder))


def test_longer_than_announced(folder: Path) -> None:
    file = folder / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DataError, match="is too long"):
        load_dataset("mnist", root=str(folder))


def test_wrong_image_size(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((20, 32, 28))))
    with pytest.raises(DataError, match="expected images of 28 x 28 pixels, got 32 x 28"):
        load_dataset("mnist", root=str(folder))


def test_counts_must_agree(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((21, 28, 28))))
    with pytest.raises(DataError, match=r"has 21 images, .* has 20 labels"):
        load_dataset("mnist", root=str(folder))


def test_label_out_of_range(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.full(20, 10)))
    with pytest.raises(DataError, match="label 10 is above 9"):
        load_dataset("mnist", root=str(folder))


def test_missing_file_names_both_spellings(folder: Path) -> None:
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match=r"lacks the t10k images: .*idx3-ubyte or .*ubyte.gz"):
        load_dataset("mnist", root=str(folder))


def test_root_is_needed_and_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MNIST needs the folder of its files"):
        load_dataset("mnist")
    with pytest.raises(DataError, match="is not a folder"):
        load_dataset("fashion_mnist", root=str(tmp_path / "nowhere"))


@pytest.mark.realdata
def test_real_mnist(data_root: Path) -> None:
    splits = load_dataset("mnist", root=str(data_root / "image/mnist"), validation=0.1)
    assert len(splits.train) + len(splits.validation) == 60_000
    assert abs(len(splits.validation) - 6_000) < 10
    assert len(splits.test) == 10_000
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    mean = splits.test.batch(torch.arange(10_000)).mean()
    assert mean.item() == pytest.approx(0.1325, abs=1e-4)


@pytest.mark.realdata
def test_real_fashion_mnist_subset(data_root: Path) -> None:
    folder = data_root / "image/fashion-mnist-subset"
    splits = load_dataset("fashion_mnist", root=str(folder))
    assert (len(splits.train), len(splits.test)) == (500, 100)
    assert splits.train.labels.bincount().tolist() == [50] * 10
