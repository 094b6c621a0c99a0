"""Memory of batches, used again when nobody refers to a batch any more.

The system hands out memory page by page and fills it with zeros first: for an int8 batch of SWiG's shapes,
152 MB as float32, that takes longer than reading and decoding it. So a large array is kept when its batch is
gone, and lent again. Whether it is gone, Python knows: arrays, their views and tensors made of them all hold
a reference to the array that owns the memory.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_SMALLEST = 1 << 20  # bytes; below, the system's way costs nothing
_KEPT = 32  # arrays; three banks with what is under way, with some to spare


class BatchMemory:
    """Arrays to be filled, of memory used before where there is some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: list[NDArray[np.uint8]] = []

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array whose contents are undefined. It is the caller's for as long as anything refers to it."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size < _SMALLEST:
            return np.empty(shape, dtype)
        with self._lock:
            block = self._find(size)
        return block[:size].view(dtype).reshape(shape)

    def _find(self, size: int) -> NDArray[np.uint8]:
        for number, block in enumerate(map(len, self._blocks)):
            if size <= block <= 2 * size and _references(self._blocks, number) == _IDLE:
                return self._blocks[number]
        if len(self._blocks) >= _KEPT:
            lent = range(len(self._blocks))
            self._blocks = [self._blocks[i] for i in lent if _references(self._blocks, i) != _IDLE]
        # Of numpy, which asks for large pages: torch, which does not, takes thrice as long the first time.
        self._blocks.append(np.empty(size, np.uint8))
        return self._blocks[-1]


def _references(blocks: list[NDArray[np.uint8]], number: int) -> int:
    return sys.getrefcount(blocks[number])


# How many that are where nobody else has one differs between versions of Python.
_IDLE = _references([np.empty(0, np.uint8)], 0)

_memory = BatchMemory()


def _renew_in_child() -> None:
    """The parent's arrays are the parent's, and one of its threads may have held the lock."""
    global _memory
    _memory = BatchMemory()


os.register_at_fork(after_in_child=_renew_in_child)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """As `BatchMemory.empty`, of the memory of this process."""
    return _memory.empty(shape, dtype)
