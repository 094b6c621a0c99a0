"""Orders and shards: permutations, no overlap, the same on every call."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from cache.order import balanced_rows, coins, in_shard, permutation, shard_of

KEYS = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=60)
FIRST_ORDER = [2, 0, 3, 1, 7, 4, 5, 6]
FIRST_BALANCED = [0, 2, 1, 3, 7, 7, 6, 6]
FIRST_SHARDS = [0, 1, 0, 1, 2, 3, 2, 0]
FIRST_COINS = [False, True, False, True, False, True, True, False, False, False, False, False]


@given(st.integers(0, 500), st.integers(0, 2**40), st.integers(0, 50))
def test_every_epoch_visits_every_row_once(count: int, seed: int, epoch: int) -> None:
    order = permutation(count, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, permutation(count, seed, epoch))


def test_order_is_fixed_for_all_time() -> None:
    """A checkpoint of an older release must resume to the same order."""
    assert permutation(8, seed=0, epoch=0).tolist() == FIRST_ORDER
    assert permutation(8, seed=0, epoch=1).tolist() != FIRST_ORDER
    assert permutation(8, seed=1, epoch=0).tolist() != FIRST_ORDER


@given(KEYS, st.integers(1, 7))
def test_shards_are_disjoint_and_complete(keys: list[str], shards: int) -> None:
    parts = [in_shard(keys, shard, shards) for shard in range(shards)]
    assert sorted(key for part in parts for key in part) == sorted(keys)
    assert all(part == [key for key in keys if key in part] for part in parts), "the given order is kept"


@given(KEYS, st.integers(1, 7))
def test_a_keys_shard_does_not_depend_on_other_keys(keys: list[str], shards: int) -> None:
    for shard in range(shards):
        assert in_shard(keys, shard, shards) == [key for key in keys if shard_of(key, shards) == shard]


def test_shards_are_fixed_for_all_time() -> None:
    """Machines that share a run must agree on who asks for which picture."""
    assert [shard_of(f"jumping_{i}.jpg", 4) for i in range(8)] == FIRST_SHARDS
    assert {shard_of(f"jumping_{i}.jpg", 4) for i in range(100)} == {0, 1, 2, 3}


@pytest.mark.parametrize("shard", [-1, 4])
def test_a_shard_that_does_not_exist_is_refused(shard: int) -> None:
    with pytest.raises(UserError, match=f"shard {shard} of 4 does not exist: give a number from 0 to 3"):
        in_shard(["a"], shard, 4)


@given(st.integers(0, 300), st.integers(0, 2**40), st.integers(0, 50))
def test_a_rows_coin_is_its_own(count: int, seed: int, epoch: int) -> None:
    """The same whatever other rows there are."""
    assert np.array_equal(coins(count, seed, epoch), coins(count + 50, seed, epoch)[:count])


def test_coins_are_even_and_thrown_anew_every_epoch() -> None:
    first, second, other = coins(10_000, 0, 0), coins(10_000, 0, 1), coins(10_000, 1, 0)
    for found in (first, first == second, first == other):
        assert 0.48 < found.mean() < 0.52
    assert coins(12, 0, 0).tolist() == FIRST_COINS


GROUPS = st.lists(st.integers(0, 5), min_size=1, max_size=80)
BALANCE = st.floats(0, 1)


@given(GROUPS, BALANCE, st.integers(0, 2**40), st.integers(0, 20))
def test_balanced_rows_are_as_many_and_the_same_on_every_call(
    groups: list[int], balance: float, seed: int, epoch: int
) -> None:
    rows = balanced_rows(groups, balance, seed, epoch)
    assert len(rows) == len(groups)
    assert np.array_equal(rows, balanced_rows(groups, balance, seed, epoch))


@given(GROUPS, st.integers(0, 2**40), st.integers(0, 20))
def test_without_balance_every_row_comes_once(groups: list[int], seed: int, epoch: int) -> None:
    assert sorted(balanced_rows(groups, 0, seed, epoch).tolist()) == list(range(len(groups)))


@given(GROUPS, st.integers(0, 2**40), st.integers(0, 20))
def test_with_full_balance_groups_come_equally_often(groups: list[int], seed: int, epoch: int) -> None:
    group = np.asarray(groups)
    counts = np.unique(group[balanced_rows(groups, 1, seed, epoch)], return_counts=True)[1]
    assert counts.max() - counts.min() <= 1


@given(GROUPS, BALANCE, st.integers(0, 2**40))
def test_rows_of_a_group_take_turns_from_epoch_to_epoch(groups: list[int], balance: float, seed: int) -> None:
    group = np.asarray(groups)
    rows = np.concatenate([balanced_rows(groups, balance, seed, epoch) for epoch in range(6)])
    counts = np.bincount(rows, minlength=len(groups))
    for name in set(groups):
        assert np.ptp(counts[group == name]) <= 1


def test_a_share_between_grows_with_the_root() -> None:
    rows = balanced_rows([0] * 81 + [1] * 9, 0.5, 0, 0)
    assert np.bincount(np.asarray([0] * 81 + [1] * 9)[rows]).tolist() == [
        68,
        22,
    ]  # 9 : 3 of 90, in whole rows


def test_balanced_order_is_fixed_for_all_time() -> None:
    """A checkpoint of an older release must resume to the same order."""
    assert balanced_rows([0, 0, 0, 0, 0, 0, 1, 1], 1.0, seed=0, epoch=0).tolist() == FIRST_BALANCED
    assert balanced_rows([0, 0, 0, 0, 0, 0, 1, 1], 1.0, seed=0, epoch=1).tolist() != FIRST_BALANCED
