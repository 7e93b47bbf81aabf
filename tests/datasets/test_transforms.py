import pytest
import torch

from synfire.core.errors import ConfigError
from synfire.datasets import Augmentation, normalise
from synfire.datasets.transforms import affine_matrices, random_crop, random_erase, random_flip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


EVERYTHING = Augmentation(
    shift=0.1, rotate=15, scale=0.1, stretch=0.1, shear=10, elastic=1, flip=0.5, crop=2, erase=0.5
)


def test_no_option_changes_nothing() -> None:
    x = torch.rand(3, 2, 7, 9)
    assert torch.equal(Augmentation()(x, generator()), x)


def test_the_generator_decides_everything() -> None:
    x = torch.rand(4, 3, 12, 10)
    torch.manual_seed(1)
    one = EVERYTHING(x, generator(5))
    torch.manual_seed(2)
    assert torch.equal(one, EVERYTHING(x, generator(5)))
    assert not torch.equal(one, EVERYTHING(x, generator(6)))
    assert one.shape == x.shape
    assert one.min() >= 0
    assert one.max() <= 1 + 1e-6


def test_matrices_are_within_their_bounds() -> None:
    theta = affine_matrices(500, 0.1, 0.0, 0.2, 0.0, 0.0, 1.0, generator())
    assert theta[:, 0, 1].abs().max() == 0
    assert theta[:, 0, 0].min() >= 1 / 1.2 - 1e-6
    assert theta[:, 0, 0].max() <= 1 / 0.8 + 1e-6
    assert 0.15 < theta[:, :, 2].abs().max() <= 0.2  # a share of the side, in units of half a side


def test_rotation_is_rigid_on_a_wide_image() -> None:
    height, width = 9, 27
    theta = affine_matrices(50, 0.0, 45.0, 0.0, 0.0, 0.0, width / height, generator())
    pixels = torch.diag(torch.tensor([width / 2, height / 2]))
    rigid = pixels @ theta[:, :, :2] @ torch.linalg.inv(pixels)
    assert torch.allclose(rigid @ rigid.transpose(1, 2), torch.eye(2).expand(50, 2, 2), atol=1e-5)


def test_shift_moves_the_picture() -> None:
    x = torch.zeros(200, 1, 11, 11)
    x[:, :, 5, 5] = 1.0
    moved = Augmentation(shift=0.2)(x, generator())
    rows = (moved.sum(dim=3) * torch.arange(11.0)).sum(dim=(1, 2)) - 5
    assert rows.abs().max() <= 0.2 * 11 + 0.01
    assert rows.std() > 0.5
    assert torch.allclose(moved.sum(dim=(1, 2, 3)), torch.ones(200), atol=1e-4)


def test_flip_crop_erase() -> None:
    x = torch.rand(64, 2, 8, 6)
    flipped = random_flip(x, 0.5, generator())
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert ((flipped == x).flatten(1).all(1) ^ mirrored).all()
    assert 10 < mirrored.sum() < 54
    cropped = random_crop(x, 2, generator())
    whole = (cropped == x).flatten(1).all(1)
    assert 0 < whole.sum() < 64
    assert torch.isin(cropped, torch.cat([x.flatten(), torch.zeros(1)])).all()
    erased = random_erase(x, 1.0, generator())
    assert ((erased == x) | (erased == 0)).all()
    assert 0.02 < (erased == 0).float().mean() < 0.25
    assert torch.equal(random_erase(x, 0.0, generator()), x)


def test_elastic_needs_no_affine_part() -> None:
    x = torch.rand(2, 1, 16, 16)
    assert not torch.equal(Augmentation(elastic=1.0)(x, generator()), x)


def test_bad_values() -> None:
    with pytest.raises(ConfigError, match=r"augment.rotate must not be negative"):
        Augmentation(rotate=-1)
    with pytest.raises(ConfigError, match="probabilities"):
        Augmentation(flip=2)
    with pytest.raises(ConfigError, match="expected 3 means"):
        normalise(torch.ones(1, 3, 2, 2), (0.5,), (0.5,))
