"""Finished pictures on their way into the store, a part at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cache.paths import StorePaths
from cache.rationales import QuarantineRow, RationaleRow, append_quarantine, append_rationales


class PartBuffer:
    """Holds finished pictures until a part is full or old; writes what it holds however its block ends.

    pictures, seconds   a part is written after this many pictures, or when this old
    """

    def __init__(
        self,
        paths: StorePaths,
        producer: dict[str, Any],
        pictures: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accepted = self.rejected = self.failed = 0
        self._paths, self._producer = paths, producer
        self._limit, self._seconds, self._clock = pictures, seconds, clock
        self._rows: list[RationaleRow] = []
        self._failures: list[QuarantineRow] = []
        self._pictures = 0
        self._last = clock()

    def __enter__(self) -> PartBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def finish(self, rows: list[RationaleRow]) -> None:
        """Takes all rows of one picture."""
        accepted = sum(row.status == "accepted" for row in rows)
        self.accepted += accepted
        self.rejected += len(rows) - accepted
        self._rows += rows
        self._count()

    def fail(self, failure: QuarantineRow) -> None:
        self.failed += 1
        self._failures.append(failure)
        self._count()

    def _count(self) -> None:
        self._pictures += 1
        if self._pictures >= self._limit or self._clock() - self._last >= self._seconds:
            self.flush()

    def flush(self) -> None:
        append_rationales(self._paths, [asdict(row) for row in self._rows], self._producer)
        self._rows = []  # at once: a stop between the two parts comes back here through `__exit__`
        append_quarantine(self._paths, self._failures, self._producer)
        self._failures, self._pictures = [], 0
        self._last = self._clock()
