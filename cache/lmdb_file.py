"""A shard's file as LMDB opens it: to write it once, and to read it through LMDB's own look-up."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from cache.atomic import system_fault

ROWS, KEYS = b"rows", b"keys"  # image id -> payload, and -> the 16-byte key of what decided the payload
_OTHER_PAGES = 1024  # for the keys and the trees


@contextmanager
def writing(path: Path, rows: int, row_bytes: int) -> Iterator[tuple[lmdb.Environment, Any, Any]]:
    """A new file for so many rows: its environment, and the tables of rows and of keys; synced at the end.

    The file grows with what is put into it. A disk's fault is raised as OSError.
    """
    try:
        size = map_size(rows, row_bytes)
        with lmdb.open(
            str(path), subdir=False, map_size=size, max_dbs=2, lock=False, sync=False, metasync=False
        ) as env:
            yield env, env.open_db(ROWS), env.open_db(KEYS)
            env.sync(True)
    except lmdb.Error as reason:
        raise system_fault(reason) from reason


def map_size(rows: int, row_bytes: int) -> int:
    """Address space that so many rows fit into.

    LMDB takes the system's pages, of 4096 bytes on most and 65536 on some. Each payload fills whole ones
    behind a 16-byte header, and keys need a few pages more.
    """
    page = max(4096, mmap.PAGESIZE)
    return (rows * (row_bytes // page + 3) + _OTHER_PAGES) * page


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that LMDB reads. What it hands out is valid until the file is closed."""

    transaction: lmdb.Transaction
    rows: Any
    keys: Any

    def row_keys(self) -> Iterator[tuple[str, str]]:
        """Image and hex key of every row, in the file's order."""
        for image, key in self.transaction.cursor(self.keys):
            yield bytes(image).decode(), bytes(key).hex()

    def payload(self, image: bytes) -> memoryview | None:
        """The stored bytes of a row; None where there is none."""
        found = self.transaction.get(image, db=self.rows)
        return None if found is None else memoryview(found)


# LMDB refuses to open a file twice in one process.
_one_at_a_time = threading.Lock()
_open: list[lmdb.Environment] = []


@contextmanager
def reading(path: Path) -> Iterator[OpenFile]:
    """The file through LMDB; other threads wait for it. Raises lmdb.Error or OSError where it is damaged."""
    with _one_at_a_time:
        env = lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=2, readahead=False)
        _open.append(env)
        try:
            # Before the transaction begins: it would not see tables that were opened later.
            rows, keys = (env.open_db(name, create=False) for name in (ROWS, KEYS))
            with env.begin(buffers=True) as transaction:
                yield OpenFile(transaction, rows, keys)
        finally:
            _open.remove(env)
            env.close()


def _close_in_child() -> None:
    """A forked child may not use what a thread of its parent has open, nor open it again beside that."""
    global _one_at_a_time
    _one_at_a_time = threading.Lock()
    for env in _open:
        env.close()
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)
