"""A store with nothing but pooled vectors of many pictures, in clusters as real ones are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cache.manifest import add_parts, put_in_force
from cache.paths import StorePaths
from cache.vectors import PICTURES, Floats, VectorKey, write_vectors
from tests.cache.small_store import PRODUCER, empty_store


def clustered(count: int, width: int, seed: int = 0) -> Floats:
    shared, own = np.random.default_rng(0), np.random.default_rng([1, seed])
    centres = shared.standard_normal((20, width))
    vectors = centres[own.integers(20, size=count)] + 0.5 * own.standard_normal((count, width))
    return vectors.astype(np.float32)


def many_vectors(root: Path, count: int, width: int, order: Sequence[int] = (0, 1)) -> StorePaths:
    """`count` vectors in two parts, written in the given order."""
    paths = empty_store(root)
    put_in_force(paths, PICTURES, "f")
    keys = [VectorKey(f"{number}.jpg") for number in range(count)]
    vectors = clustered(count, width)
    half = count // 2
    for part in order:
        mine = slice(0, half) if part == 0 else slice(half, count)
        written = write_vectors(
            paths, PICTURES, keys[mine], ["1"] * len(keys[mine]), vectors[mine], "f", PRODUCER
        )
        add_parts(paths, [written])
    return paths
