"""When a loaded engine has worked long enough to be loaded anew."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 10.0  # between two looks at the memory; one takes less than a millisecond for each process


class EngineWear:
    """Counts what one loaded engine answered and watches the memory it holds.

    after      answers until it is worn; 0 = never
    above_gib  memory above which it is worn; 0 = never
    say        told when the bound on memory cannot be kept
    peak_gib   most memory seen since the first load
    recycled   how often the engine was loaded anew
    """

    def __init__(
        self,
        after: int,
        above_gib: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.after, self.above_gib = after, above_gib
        self.peak_gib, self.recycled, self.answers_in_all = 0.0, 0, 0
        self._say, self._clock = say, clock
        self._measure: Callable[[], float] = float
        self._answers, self._held, self._next_look = 0, 0.0, 0.0

    def begin(self, measure: Callable[[], float]) -> None:
        """An engine was loaded; `measure` gives the memory it holds, in GiB."""
        self._measure, self._answers = measure, 0
        self._look()
        if 0 < self.above_gib < self._held:
            self._say(
                f"recycle_above_gib {self.above_gib:g} is less than the {self._held:.1f} GiB held "
                "right after loading, so memory no longer recycles the engine; set it well above that"
            )
            self.above_gib = 0

    def count(self) -> None:
        """The engine answered one request."""
        self._answers += 1
        self.answers_in_all += 1

    def reason(self) -> str:
        """Why the engine is to be loaded anew; empty while it is not."""
        if self._clock() >= self._next_look:
            self._look()
        if 0 < self.after <= self._answers:
            return f"{self._answers} answers since it was loaded"
        if 0 < self.above_gib < self._held:
            return f"{self._held:.1f} GiB held, more than recycle_above_gib {self.above_gib:g}"
        return ""

    def _look(self) -> None:
        self._held = self._measure()
        self.peak_gib = max(self.peak_gib, self._held)
        self._next_look = self._clock() + LOOK_SECONDS
