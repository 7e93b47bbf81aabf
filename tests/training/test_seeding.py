import itertools

import torch

from synfire.training.seeding import Stream, derive_generator, derive_seed


def test_seeds_of_different_places_differ() -> None:
    places = itertools.product(Stream, range(3), range(3), range(3))
    seeds = [derive_seed(stream, *place) for stream, *place in places]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generator_follows_from_its_place_alone() -> None:
    torch.manual_seed(1)
    one = torch.rand(3, generator=derive_generator(Stream.AUGMENTATION, 7, 2, 5))
    torch.manual_seed(2)
    torch.rand(9)
    two = torch.rand(3, generator=derive_generator(Stream.AUGMENTATION, 7, 2, 5))
    assert torch.equal(one, two)
