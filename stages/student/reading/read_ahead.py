"""Results of a function in order, computed in threads ahead of whoever takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Wanted = TypeVar("Wanted")
Read = TypeVar("Read")

AHEAD = 2  # batches under way while a step computes: one nearly there, and one that keeps the disk busy


def read_ahead(read: Callable[[Wanted], Read], wanted: Iterable[Wanted]) -> Generator[Read]:
    """`read` of each, in order; `read` is called in several threads.

    Its exceptions come where its result would. When the iterator is closed nothing is under way any more.
    """
    pending: deque[Future[Read]] = deque()
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="batch-reader") as readers:
        try:
            for one in wanted:
                pending.append(readers.submit(read, one))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for late in pending:
                late.cancel()
