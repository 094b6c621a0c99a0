"""Which rows belong to which worker and in which order: pure functions on integers and keys.

Pure, so that every worker and every resumed run computes the same answer with nothing to agree on.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def rank_rows(order: NDArray[np.int64], rank: int, world: int) -> NDArray[np.int64]:
    """The rows of one rank: every `world`-th, dropping the remainder so that all ranks take equally many."""
    assert 0 <= rank < world
    return order[: len(order) // world * world][rank::world]


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood 2014: a bijection on 64 bits, so that distinct counters stay distinct."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
