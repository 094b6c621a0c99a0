"""Ctrl-C, SIGTERM and SIGHUP wait for the end of a step that must not be left in the middle."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_held() -> Iterator[list[int]]:
    """What asks the program to stop inside the block does so right after it, however the block ends.

    The block gets the list of the signals that wait. Python hands signals to the main thread alone, so in any
    other one there is nothing to hold.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in _STOPS}
    held = [number for number, handler in before.items() if handler is not None]  # None: not Python's own
    for number in held:
        signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield caught
    finally:
        for number in held:
            signal.signal(number, before[number])
        for stop in dict.fromkeys(caught):
            signal.raise_signal(stop)
