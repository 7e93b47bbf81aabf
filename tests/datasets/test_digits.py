import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from synfire.core.errors import ConfigError
from synfire.datasets import Digits, load_dataset


def test_stratified_split_is_the_one_of_scikit_learn() -> None:
    x, y = load_digits(return_X_y=True)
    _, x_test, _, y_test = train_test_split(x, y, test_size=360, stratify=y, random_state=42)
    test = Digits().load().test
    assert torch.equal(test.batch(torch.arange(360)).flatten(1), torch.tensor(x_test).float() / 16)
    assert test.labels.tolist() == y_test.tolist()


def test_writers_split_is_the_last_360() -> None:
    y = load_digits().target
    splits = Digits(split="writers").load()
    assert torch.equal(splits.test.labels, torch.tensor(y[-360:]))
    assert torch.equal(splits.train.labels, torch.tensor(y[:-360]))


def test_validation_is_part_of_train_and_seeded() -> None:
    whole = Digits().load()
    one, same, other = (Digits(validation=0.2, split_seed=seed).load() for seed in (1, 1, 2))
    assert len(one.train) + len(one.validation) == len(whole.train) == 1437
    assert torch.equal(one.validation.labels, same.validation.labels)
    pixels = one.validation.batch(torch.arange(len(one.validation)))
    assert not torch.equal(pixels, other.validation.batch(torch.arange(len(other.validation))))
    trained_on = one.train.batch(torch.arange(len(one.train)))
    assert not set(map(tuple, pixels.flatten(1).tolist())) & set(
        map(tuple, trained_on.flatten(1).tolist())
    )


def test_limit_keeps_all_classes() -> None:
    splits = load_dataset("digits", limit=100)
    assert (len(splits.train), len(splits.test)) == (100, 100)
    assert len(splits.train.labels.unique()) == 10


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match=r"must be one of stratified, writers, got 'random'"):
        Digits(split="random").load()
    with pytest.raises(ConfigError, match="validation share"):
        Digits(validation=1.0).load()
    with pytest.raises(ConfigError, match="the validation part of digits is empty"):
        Digits().load().part("validation")
    with pytest.raises(KeyError, match="did you mean digits"):
        load_dataset("digit")
