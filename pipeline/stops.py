"""Ctrl-C, SIGTERM and a closed terminal end a command in one way: as an exception that unwinds it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = tuple(128 + number for number in STOPS)  # exit codes, as a shell reports them

SWALLOWED_AFTER = 2.0  # seconds after which a stop that nobody is carrying out is raised again
# Seconds from the end of a stopped command to that of its process. vLLM's threads, if their start was
# interrupted, are waited for by Python without an end.
LAST_BREATH = 10.0


@contextmanager
def stops_unwind() -> Iterator[None]:
    """Inside the block each of `STOPS` raises SystemExit: finished rows are written and engines closed.

    A stop may come in the middle of code that drops exceptions, as in a finaliser or in a library that
    catches everything: while vLLM loads its model one in a few is lost so (0.32). It is raised again until it
    is carried out. What is ignored stays so, as Ctrl-C in a background job and SIGHUP under nohup.
    """
    stopper = _Stopper()
    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stopper.stop)
    try:
        yield
    except BaseException as end:
        if stopper.raised is None or isinstance(end, SystemExit):
            raise
        raise stopper.raised from end  # what the stop broke, as an engine that ended at the same Ctrl-C
    finally:
        stopper.over.set()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Stopper:
    """raised  the last stop's exception, or None
    over    set when the block has ended, so that there is nothing to raise any more
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        self.raised: SystemExit | None = None
        self._last_breath = LAST_BREATH

    def stop(self, number: int, _: Any) -> NoReturn:
        first = self.raised is None
        self.raised = SystemExit(128 + number)
        if first:
            threading.Thread(target=self._watch, args=(number,), name="stop", daemon=True).start()
        raise self.raised

    def _watch(self, number: int) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self.over.wait(SWALLOWED_AFTER):
            if not self._is_carried_out(main):
                signal.pthread_kill(main, number)
        if not threading.Event().wait(self._last_breath):
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)

    def _is_carried_out(self, thread: int) -> bool:
        """Whether the thread is in a block that the exception brought it to: `finally`, `with`, `except`."""
        found: Any = sys._current_exceptions().get(thread)  # Python 3.11: class, exception, traceback
        handled: BaseException | None = found[1] if isinstance(found, tuple) else found
        while handled is not None and handled is not self.raised:
            handled = handled.__context__
        return handled is not None
