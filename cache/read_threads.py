"""Threads of this process that read beside each other: rows of a batch, and whole files.

A disk reaches its rate only with several reads under way, and a copy out of the page cache is faster on two
cores than on one; both let go of the interpreter while they work.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Read = TypeVar("Read")
Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 8
_WORTH_A_THREAD = 256 << 10  # bytes; handing over less takes about as long as reading it

_executor: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def _forget_in_child() -> None:
    """A forked child has none of its parent's threads, and the lock may have been held by one of them."""
    global _executor, _lock
    _executor, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_in_child)


def read_all(reads: Sequence[Read], read: Callable[[Read], None], size: int) -> None:
    """Calls `read` for each of `reads`, which have `size` bytes together; raises the first exception.

    Returns when nothing is under way any more, also on an exception: the memory read into is then free.
    """
    tasks = min(THREADS, len(reads), size // _WORTH_A_THREAD)
    if tasks < 2:
        _read_some(reads, read)
        return
    futures = [_threads().submit(_read_some, reads[number::tasks], read) for number in range(tasks)]
    try:
        faults = [future.exception() for future in futures]
    finally:
        wait(futures)  # Ctrl-C comes while the threads still fill the memory
    if fault := next(filter(None, faults), None):
        raise fault


def in_order(work: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result]:
    """`work` of each item, in order, by several threads at once; close it where it is not read to the end.

    For what takes both disk and processor, as checksums do: one thread computes while another reads.
    """
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="file-reader")
    try:
        yield from threads.map(work, items)
    finally:
        threads.shutdown(cancel_futures=True)


def _read_some(reads: Sequence[Read], read: Callable[[Read], None]) -> None:
    for one in reads:
        read(one)


def _threads() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(THREADS, thread_name_prefix="bank-reader")
        return _executor
