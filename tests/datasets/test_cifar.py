import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from synfire.core.errors import DataError
from synfire.datasets import load_dataset


def batch(count: int, seed: int) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, 10, count).tolist()


def write_python(folder: Path, protocol: int = 2) -> None:
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels, labels = batch(4, seed)
        content = {b"labels": labels, b"data": pixels, b"filenames": [b"a.png"]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))


def write_binary(folder: Path) -> None:
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels, labels = batch(4, seed)
        records = np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())


@pytest.mark.parametrize("protocol", [2, 4])
def test_python_and_binary_versions_agree(tmp_path: Path, protocol: int) -> None:
    for name, write in (("py", lambda f: write_python(f, protocol)), ("bin", write_binary)):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    python, binary = (load_dataset("cifar10", root=str(tmp_path / name)) for name in ("py", "bin"))
    assert (len(python.train), len(python.test)) == (20, 4)
    assert python.image_size == (32, 32)
    every = torch.arange(20)
    assert torch.equal(python.train.batch(every), binary.train.batch(every))
    assert torch.equal(python.train.labels, binary.train.labels)
    expected, labels = batch(4, 1)
    assert python.train.labels[4:8].tolist() == labels
    red = python.train.batch(torch.tensor([4]))[0, 0].flatten()
    assert torch.equal(red, torch.from_numpy(expected[0, :1024].astype(np.float32)) / 255)


def test_python2_strings_are_read_as_bytes(tmp_path: Path) -> None:
    write_python(tmp_path)
    # Python 2 wrote the published files: 8-bit strings as keys; here with data that is no array.
    old = b"\x80\x02}q\x00(U\x04dataq\x01K\x01U\x06labelsq\x02]q\x03u."
    (tmp_path / "test_batch").write_bytes(old)
    with pytest.raises(DataError, match=r"expected data uint8 \[N, 3072\], got int64 \(\)"):
        load_dataset("cifar10", root=str(tmp_path))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch bomb",)


def test_code_in_a_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_python(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps({b"data": Bomb()}))
    with pytest.raises(DataError, match=r"data_batch_3 is not .*: it asks for .*system"):
        load_dataset("cifar10", root=str(tmp_path))
    assert not (tmp_path / "bomb").exists()


def test_damaged_files(tmp_path: Path) -> None:
    write_python(tmp_path)
    file = tmp_path / "data_batch_2"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="data_batch_2 is not a CIFAR python batch"):
        load_dataset("cifar10", root=str(tmp_path))
    file.unlink()
    with pytest.raises(DataError, match=r"expected data_batch_2 \(python version\)"):
        load_dataset("cifar10", root=str(tmp_path))


def test_truncated_binary_and_bad_label(tmp_path: Path) -> None:
    write_binary(tmp_path)
    file = tmp_path / "test_batch.bin"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(DataError, match="expected records of 3073 bytes"):
        load_dataset("cifar10", root=str(tmp_path))
    file.write_bytes(b"\x0a" + content[1:])
    with pytest.raises(DataError, match=r"expected labels in 0\.\.9"):
        load_dataset("cifar10", root=str(tmp_path))


def test_cifar100_takes_fine_labels(tmp_path: Path) -> None:
    pixels, _ = batch(3, 0)
    for name in ("train", "test"):
        coarse, fine = np.array([[1], [2], [3]], np.uint8), np.array([[99], [0], [50]], np.uint8)
        (tmp_path / f"{name}.bin").write_bytes(np.concatenate([coarse, fine, pixels], 1).tobytes())
    splits = load_dataset("cifar100", root=str(tmp_path))
    assert splits.test.labels.tolist() == [99, 0, 50]
    assert len(splits.classes) == 100
