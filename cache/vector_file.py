"""Unit vectors in the order of their ids, in a file that nobody sees.

Index builders go over all vectors several times and in any order; as a file they take no memory but the page
cache, and sorted they give the same index whatever order they were written to the store in.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.atomic import TEMPORARY, disk_fault
from cache.vectors import Floats, NewestVectors


@contextmanager
def sorted_vectors(newest: NewestVectors, target: Path) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """ids [N] ascending and their vectors [N, E] of length 1, or of zeros; valid inside the block.

    target   the file that is to be made of them, in whose folder and for whose errors this one lies

    Raises MachineError where the disk is full or cannot be written, UserError where a part is damaged.
    """
    ids = np.sort(newest.keys["id"].to_numpy())
    shape = (len(ids), newest.width)
    if not len(ids):
        yield ids, np.zeros(shape, np.float32)
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # It has no name, so that a kill leaves nothing.
        with tempfile.TemporaryFile(dir=target.parent, prefix=TEMPORARY, buffering=0) as file:
            _write(file.fileno(), newest, ids)
            vectors = np.memmap(file, np.float32, "r", shape=shape)
            yield ids, vectors
            del vectors
    except OSError as reason:
        raise disk_fault(reason, target) from reason


def _write(descriptor: int, newest: NewestVectors, ids: NDArray[np.int64]) -> None:
    """Not through a mapping: a full disk would end the process instead of raising."""
    for block_ids, vectors in newest.blocks():
        rows = unit(vectors)
        for row, place in zip(rows, np.searchsorted(ids, block_ids).tolist(), strict=True):
            if os.pwrite(descriptor, row, place * row.nbytes) < row.nbytes:
                os.pwrite(descriptor, row, place * row.nbytes)  # what is short once says why now


def unit(vectors: Floats) -> Floats:
    """[N, E] -> the same of length 1; zeros stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)
