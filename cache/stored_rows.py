"""Rows of a bank as they are stored, many in one array: what a batch is read into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.batch_memory import empty
from cache.codec import RAW_TYPES, SCALE_TYPE, StorageType

LENGTH_TYPE = np.dtype("<i4")


@dataclass(frozen=True, slots=True)
class StoredRows:
    """B rows.

    values   [B, *shape] in `RAW_TYPES[storage]`; bf16 are the 16 bits of each value
    scales   [B, *shape without the width] float32, what a token's values are multiplied by; None but for int8
    lengths  [B, first axis] int32, tokens of each sequence that count; None where the bank is not masked
    """

    storage: StorageType
    values: NDArray[Any]
    scales: NDArray[np.float32] | None
    lengths: NDArray[np.int32] | None

    @staticmethod
    def empty(storage: StorageType, shape: tuple[int, ...], masked: bool, count: int) -> StoredRows:
        """Room for `count` rows, whose contents are undefined."""
        return StoredRows(
            storage,
            empty((count, *shape), RAW_TYPES[storage]),
            empty((count, *shape[:-1]), SCALE_TYPE) if storage == "int8" else None,
            empty((count, shape[0]), LENGTH_TYPE) if masked else None,
        )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def arrays(self) -> Iterator[NDArray[Any]]:
        """In the order in which a row's bytes are laid out."""
        return (array for array in (self.values, self.scales, self.lengths) if array is not None)

    def parts(self, row: int) -> list[memoryview]:
        """Where the bytes of one row go, each a flat view of bytes."""
        return [array[row : row + 1].reshape(-1).view(np.uint8).data for array in self.arrays]

    def clear(self, row: int) -> None:
        """Makes a row one of zeros, of which no token counts."""
        for array in self.arrays:
            array[row] = 0
