"""Which rows belong to which worker and in which order: pure functions on integers and keys.

Pure, so that every worker and every resumed run computes the same answer with nothing to agree on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from cache.keys import derive_number

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def shard_of(key: str, shards: int) -> int:
    """The shard, 0 to `shards` - 1, that owns a key; independent of every other key."""
    return derive_number("shard", key) % shards


def in_shard(keys: Iterable[str], shard: int, shards: int) -> list[str]:
    """The keys of one shard in their given order. All shards together hold every key exactly once."""
    if not 0 <= shard < shards:
        raise UserError(f"shard {shard} of {shards} does not exist: give a number from 0 to {shards - 1}")
    return [key for key in keys if shard_of(key, shards) == shard]


def permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of `count` rows in one epoch.

    Sorted by a mixed counter (splitmix64) rather than drawn from a library's generator, whose stream may
    change between releases: a checkpoint must resume to the same order years later.
    """
    start = np.uint64(derive_number("order", seed, epoch))
    with np.errstate(over="ignore"):
        mixed = _splitmix64(np.arange(count, dtype=np.uint64) * _GOLDEN + start)
    return np.argsort(mixed, kind="stable").astype(np.int64)


def coins(count: int, seed: int, epoch: int) -> NDArray[np.bool_]:
    """True for about half of `count` rows, others in every epoch; of each row alone, whatever its place."""
    start = np.uint64(derive_number("coin", seed, epoch))
    with np.errstate(over="ignore"):
        mixed = _splitmix64(np.arange(count, dtype=np.uint64) * _GOLDEN + start)
    heads: NDArray[np.bool_] = mixed >> np.uint64(63) == 1
    return heads


def balanced_rows(groups: Sequence[int], balance: float, seed: int, epoch: int) -> NDArray[np.int64]:
    """As many rows as there are, in the order of one epoch, some several times and some not at all.

    groups   the group of each row, e.g. its verb
    balance  0 gives every group as many places as it has rows, 1 gives all groups equally many; between, a
             group of n rows gets a share that grows with n to the power of 1 - balance

    A group's rows take turns from epoch to epoch: at any time none has come two times more than another.
    """
    assert 0 <= balance <= 1
    names, group, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    places = _apportion(np.power(sizes, 1.0 - balance, dtype=np.float64), len(group))
    chosen = [
        _turns(np.flatnonzero(group == i), int(count), derive_number("group", seed, int(name)), epoch)
        for i, (name, count) in enumerate(zip(names, places, strict=True))
    ]
    rows: NDArray[np.int64] = np.concatenate([np.empty(0, dtype=np.int64), *chosen])
    order: NDArray[np.int64] = rows[permutation(len(rows), seed, epoch)]
    return order


def _turns(rows: NDArray[np.int64], count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """`count` rows of an endless row of permutations, beginning where the epoch before ended."""
    places = np.arange(count * epoch, count * (epoch + 1))
    turn, place = np.divmod(places, len(rows))
    orders = {int(t): permutation(len(rows), seed, int(t)) for t in np.unique(turn)}
    picked: list[int] = [int(orders[int(t)][p]) for t, p in zip(turn, place, strict=True)]
    return rows[np.array(picked, dtype=np.intp)]


def _apportion(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers of sum `total` as near as can be to the weights' shares (largest remainders)."""
    shares = weights * (total / weights.sum()) if total else weights
    # An exact share may come out a hair below its whole number.
    whole = np.floor(shares + 1e-9).astype(np.int64)
    left = total - int(whole.sum())
    whole[np.argsort(whole - shares, kind="stable")[:left]] += 1
    return whole


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood 2014: a bijection on 64 bits, so that distinct counters stay distinct."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
