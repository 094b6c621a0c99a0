"""Progress and sentences on stderr, events in RUN/events.jsonl. Results alone go to stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stages.printable import printable
from stages.reporter import Advance

_SECONDS_BETWEEN_LINES = 10.0  # where stderr is a file, a progress line this often


class Console:
    """The command line's Reporter."""

    def __init__(self, events: Path | None = None) -> None:
        self._events = events

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0, unit: str = "picture") -> Iterator[Advance]:
        if sys.stderr.isatty():
            with tqdm(total=total, initial=done, desc=title, unit=f" {unit}", dynamic_ncols=True) as bar:
                yield lambda count: _discard(bar.update(count))
        else:
            with _PlainProgress(title, total, done, unit).running() as advance:
                yield advance

    def say(self, line: str) -> None:
        tqdm.write(printable(line), file=sys.stderr)

    def event(self, name: str, **fields: Any) -> None:
        if self._events is None:
            return
        self._events.parent.mkdir(parents=True, exist_ok=True)
        record = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": name, **fields}
        with self._events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


class SilentConsole(Console):
    """Tells nobody: of several processes that do one work, one speaks."""

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0, unit: str = "picture") -> Iterator[Advance]:
        yield lambda count: None

    def say(self, line: str) -> None:
        """Nothing."""

    def event(self, name: str, **fields: Any) -> None:
        """Nothing."""


def _discard(_: object) -> None:
    return None


class _PlainProgress:
    """A line now and then, for logs and pipes."""

    def __init__(self, title: str, total: int, done: int, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._begun = self._done = done
        self._start = self._last = time.monotonic()

    @contextmanager
    def running(self) -> Iterator[Advance]:
        yield self._advance
        self._line()

    def _advance(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._line()

    def _line(self) -> None:
        self._last = time.monotonic()
        worked = self._done > self._begun
        rate = (self._done - self._begun) / max(self._last - self._start, 1e-9)
        left = (self._total - self._done) / rate if rate > 0 else 0.0
        speed = f", {rate:.1f}/s" if worked else ""
        tail = f", {left:.0f} s left" if 0 < self._done < self._total and rate > 0 else ""
        print(  # noqa: T201 - this class is how progress is shown
            f"{self._title}: {self._done} of {self._total} {self._unit}s{speed}{tail}",
            file=sys.stderr,
        )
