"""Cutting sequences into pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Consecutive pieces of `size` items, the last one shorter where it does not come out even."""
    assert size > 0
    for start in range(0, len(items), size):
        yield items[start : start + size]
