"""Seeds that follow from (seed, epoch, step, rank): an interrupted run replays to the same end."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a random number is for; streams of one step are independent."""

    WEIGHTS = 0
    ORDER = 1
    AUGMENTATION = 2
    ENCODER = 3
    GLOBAL = 4
    PICTURE = 5


def derive_seed(stream: Stream, seed: int, *place: int) -> int:
    """A 63-bit seed from a stream, the run's seed and a place such as (epoch, step, rank).

    Example:
        >>> derive_seed(Stream.ORDER, 0, 3) == derive_seed(Stream.ORDER, 0, 3)
        True
        >>> derive_seed(Stream.ORDER, 0, 3) == derive_seed(Stream.ORDER, 3, 0)
        False
    """
    words = np.random.SeedSequence((int(stream), seed, *place)).generate_state(1, np.uint64)
    return int(words[0]) >> 1


def derive_generator(stream: Stream, seed: int, *place: int) -> torch.Generator:
    """A CPU generator seeded by :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(stream, seed, *place))


def derive_rng(stream: Stream, seed: int, *place: int) -> np.random.Generator:
    """A generator of numpy for what is not done by torch, such as the augmentation of one image."""
    return np.random.default_rng((int(stream), seed, *place))
