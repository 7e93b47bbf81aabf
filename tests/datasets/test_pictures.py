"""Augmentation of photographs: what each part does, and what it may not do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from synfire.core.errors import ConfigError
from synfire.datasets import Mixing, PictureAugmentation, RandAugment
from synfire.datasets.pictures import central_box, erase, random_box, resize_and_crop
from synfire.datasets.rand_augment import OPERATIONS


def noise(width: int = 32, height: int = 24, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(20, 200, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_changes_an_image_more_the_stronger_it_is(name: str) -> None:
    image = noise()
    changes = []
    for strength in (0.0, 0.4, 1.0):
        out = OPERATIONS[name](image, strength, np.random.default_rng(3))
        assert (out.size, out.mode) == (image.size, "RGB")
        changes.append(np.abs(np.asarray(out, int) - np.asarray(image, int)).mean())
    if name in ("auto_contrast", "equalize", "invert"):
        assert changes[0] == changes[1] == changes[2]
        assert changes[0] > 0
    else:
        assert changes[0] < changes[2]
        assert changes[1] > 0


def test_operations_by_their_definitions() -> None:
    image, rng = noise(), np.random.default_rng(0)
    pixels = np.asarray(image)
    expected = {
        "invert": 255 - pixels,
        "solarize": np.where(pixels < 256 - 128, pixels, 255 - pixels),
        "solarize_add": np.where(pixels < 128, np.minimum(255, pixels.astype(int) + 55), pixels),
        "posterize": pixels & 0b11000000,
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(OPERATIONS[name](image, 0.5, rng)), values)
    assert not np.asarray(OPERATIONS["posterize"](image, 1.0, rng)).any()
    moved = np.asarray(OPERATIONS["shift_x"](image, 0.625, rng))  # 9 of 32 pixels
    left, right = moved[:, :-9], moved[:, 9:]
    assert (left == pixels[:, 9:]).all() or (right == pixels[:, :-9]).all()


def test_policies_are_read() -> None:
    assert RandAugment.parse("m9-mstd0.5-inc1") == RandAugment(9, 0.5, 2, 0.5)
    assert RandAugment.parse("n3-m7-inc1-p1") == RandAugment(7, 0, 3, 1)
    for text in ("m9-mstd0.5", "rand", "m9-inc1-x2", "m9--inc1", "inc0"):
        with pytest.raises(ConfigError, match=r"reads like m9-mstd0.5-inc1"):
            RandAugment.parse(text)


def test_strength_follows_magnitude_and_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda image, s, rng: seen.append(s) or image)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        RandAugment()(None, rng)
    assert len(seen) == pytest.approx(2000, rel=0.05)  # two layers, each half of the time
    assert np.mean(seen) == pytest.approx(0.9, abs=0.01)
    assert np.std(seen) == pytest.approx(0.049, abs=0.005)
    assert max(seen) == 1.0


def test_crops_have_the_area_and_the_ratio_asked_for() -> None:
    rng = np.random.default_rng(0)
    boxes = [random_box((200, 150), (0.2, 0.6), (0.75, 4 / 3), rng) for _ in range(300)]
    for box in boxes:
        assert box is not None
        left, top, right, bottom = box
        assert 0 <= left < right <= 200
        assert 0 <= top < bottom <= 150
        w, h = right - left, bottom - top
        assert 0.19 < w * h / 30_000 < 0.61
        assert 0.73 < w / h < 1.36
    areas = [(b[2] - b[0]) * (b[3] - b[1]) / 30_000 for b in boxes if b]
    assert np.mean(areas) == pytest.approx(0.4, abs=0.03)
    assert random_box((300, 2), (0.9, 1.0), (0.75, 4 / 3), rng) is None
    assert central_box((300, 90), (0.75, 4 / 3)) == (90, 0, 210, 90)
    assert central_box((90, 300), (0.75, 4 / 3)) == (0, 90, 90, 210)


def test_an_image_is_the_same_for_the_same_generator() -> None:
    augment = PictureAugmentation(rand_augment="m9-mstd0.5-inc1", colour_jitter=0.4)
    one, again, other = (
        np.asarray(augment(noise(), 16, np.random.default_rng(seed))) for seed in (1, 1, 2)
    )
    assert one.shape == (16, 16, 3)
    assert (one == again).all()
    assert (one != other).any()


def test_nothing_switched_on_is_a_plain_resize() -> None:
    augment = PictureAugmentation(crop=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    image = noise(24, 24)
    out = augment(image, 12, np.random.default_rng(0))
    assert (np.asarray(out) == np.asarray(image.resize((12, 12), Image.Resampling.BICUBIC))).all()
    flipped = dataclasses.replace(augment, flip=1.0)(image, 24, np.random.default_rng(0))
    assert (np.asarray(flipped) == np.asarray(image)[:, ::-1]).all()


def test_erasing_fills_a_rectangle_with_unit_noise() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(50):
        pixels = erase(torch.full((3, 40, 40), 7.0), 1.0, rng)
        erased = (pixels != 7).all(0)
        rows, columns = erased.any(1).sum(), erased.any(0).sum()
        assert erased.sum() == rows * columns
        assert abs(pixels[:, erased].std() - 1) < 0.25
        shares.append(float(erased.float().mean()))
    assert min(shares) > 0.015
    assert max(shares) < 0.36
    untouched = torch.full((3, 8, 8), 7.0)
    assert (erase(untouched.clone(), 0.0, rng) == untouched).all()


def test_evaluation_cuts_the_middle_of_the_resized_image() -> None:
    image = noise(30, 20)
    out = resize_and_crop(image, 20, 16, "bicubic")
    assert (np.asarray(out) == np.asarray(image)[2:18, 7:23]).all()
    assert resize_and_crop(image, 10, 8, "bilinear").size == (8, 8)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_keeps_account_of_the_shares(kind: str) -> None:
    mix = Mixing(**{kind: 0.8})  # type: ignore[arg-type]
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 20, 30).contiguous()
    labels = torch.arange(4)
    shares = []
    for seed in range(200):
        mixed, said = mix(images, labels, torch.Generator().manual_seed(seed))
        assert said.second.tolist() == [3, 2, 1, 0]
        expected = said.share * images + (1 - said.share) * images.flip(0)
        torch.testing.assert_close(mixed.mean((1, 2, 3)), expected.mean((1, 2, 3)))
        if kind == "mixup":
            torch.testing.assert_close(mixed, expected)
        else:
            assert set(mixed[0].unique().tolist()) <= {0.0, 3.0}
        shares.append(said.share)
    assert 0.4 < np.mean(shares) < 0.8
    assert images[0].max() == 0


def test_mixing_switches() -> None:
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    still, said = Mixing(0.8, 1.0, probability=0.0)(images, labels, torch.Generator())
    assert said.share == 1
    assert still is images
    mix = Mixing(mixup=0.8, cutmix=1.0, switch=0.25)
    cuts = 0
    for seed in range(300):
        mixed, _ = mix(images, labels, torch.Generator().manual_seed(seed))
        cuts += bool(((mixed == images) | (mixed == images.flip(0))).all())
    assert 50 < cuts < 105
    for words in ({"mixup": -1.0}, {"probability": 2.0}):
        with pytest.raises(ConfigError, match=r"mix\."):
            Mixing(**words)


def test_bad_values() -> None:
    for words in (
        {"crop": (0.0, 1.0)},
        {"ratio": (2.0, 1.0)},
        {"erase": 2.0},
        {"interpolation": "x"},
    ):
        with pytest.raises(ConfigError, match=r"pictures\."):
            PictureAugmentation(**words)  # type: ignore[arg-type]
