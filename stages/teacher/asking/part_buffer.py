"""Finished pictures on their way into the store, a part at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from cache.paths import StorePaths
from cache.rationales import SCHEMA, QuarantineRow, RationaleRow, append_quarantine, append_rationales
from stages.held_signals import signals_held

_fields = attrgetter(*SCHEMA.names)  # dataclasses.asdict copies every leaf and takes five times as long


class PartBuffer:
    """Holds finished pictures until a part is full or old; writes what it holds however its block ends.

    pictures, seconds   a part is written after this many pictures, or when this old
    tag                 marks the files of one of several workers

    Counts: `pictures` finished, of which `failed` have no rationale and `empty` no accepted one; rationales
    `accepted` and `rejected`, the latter by their `reasons`.
    """

    def __init__(
        self,
        paths: StorePaths,
        producer: dict[str, Any],
        pictures: int,
        seconds: float,
        tag: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pictures = self.accepted = self.rejected = self.failed = self.empty = 0
        self.reasons: Counter[str] = Counter()
        self._paths, self._producer, self._tag = paths, producer, tag
        self._limit, self._seconds, self._clock = pictures, seconds, clock
        self._rows: list[RationaleRow] = []
        self._failures: list[QuarantineRow] = []
        self._unwritten = 0
        self._last = clock()

    def __enter__(self) -> PartBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def finish(
        self, rows: list[RationaleRow], failure: QuarantineRow | None = None, useful: bool = False
    ) -> None:
        """Takes all rows of one picture, and why it or one of its rationales was given up.

        useful  a rationale of it was accepted in an earlier call, so it is neither `failed` nor `empty`
        """
        accepted = sum(row.status == "accepted" for row in rows)
        self.accepted += accepted
        self.rejected += len(rows) - accepted
        self.reasons.update(row.reason for row in rows if row.status != "accepted")
        if not accepted and not useful:
            self.failed += not rows
            self.empty += bool(rows)
        self._rows += rows
        self._failures += [failure] if failure else []
        self.pictures += 1
        self._unwritten += 1
        if self._unwritten >= self._limit or self._clock() - self._last >= self._seconds:
            self.flush()

    def flush(self) -> None:
        with signals_held():  # a stop after a part is listed would have `__exit__` write its rows again
            self._write()

    def _write(self) -> None:
        rows = [dict(zip(SCHEMA.names, _fields(row), strict=True)) for row in self._rows]
        append_rationales(self._paths, rows, self._producer, self._tag)
        self._rows = []  # at once: a fault between the two parts comes back here through `__exit__`
        append_quarantine(self._paths, self._failures, self._producer, self._tag)
        self._failures, self._unwritten = [], 0
        self._last = self._clock()
