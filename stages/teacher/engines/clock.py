"""Time, as what waits for calls sees it; tests pass another that never sleeps."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def wait(self, inbox: SimpleQueue[T], seconds: float | None, calls: int) -> T | None:
        """The next thing in `inbox`; None when `seconds` are over, which None makes endless.

        calls  how many open calls may put something there; without any, only time can pass
        """
        ...


class WallClock:
    """Real time. Ctrl-C ends a wait."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, inbox: SimpleQueue[T], seconds: float | None, calls: int) -> T | None:
        try:
            return inbox.get(timeout=seconds)
        except Empty:
            return None
