import pytest
import torch

from synfire.core.errors import ConfigError
from synfire.training.sampling import InOrder, SeededBatches


def test_each_epoch_shows_every_image_at_most_once_in_its_own_order() -> None:
    batches = SeededBatches(103, 10, seed=3)
    orders = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        order = torch.cat(list(batches))
        assert len(order) == 100
        assert len(order.unique()) == 100
        orders.append(order)
    assert not torch.equal(*orders)
    batches.set_epoch(0)
    assert torch.equal(torch.cat(list(batches)), orders[0])


def test_ranks_share_the_batch_of_one_process() -> None:
    whole = SeededBatches(50, 12, seed=0)
    ranks = [SeededBatches(50, 12, seed=0, rank=r, ranks=3) for r in range(3)]
    for together, *parts in zip(whole, *ranks, strict=True):
        assert [len(part) for part in parts] == [4, 4, 4]
        assert sorted(torch.cat(parts).tolist()) == sorted(together.tolist())


def test_small_sets_and_bad_sizes() -> None:
    assert [len(b) for b in SeededBatches(5, 64, seed=0)] == [5]
    with pytest.raises(ConfigError, match="must be a multiple of the 2 processes"):
        SeededBatches(50, 5, seed=0, ranks=2)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        SeededBatches(50, 0, seed=0)


def test_evaluation_sees_every_image_once_over_all_ranks() -> None:
    seen = torch.cat([torch.cat(list(InOrder(23, 4, rank, 2))) for rank in range(2)])
    assert sorted(seen.tolist()) == list(range(23))
