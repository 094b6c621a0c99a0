"""Shards open in this process, shared by all its readers."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from cache.row_places import RowPlaces

# Device and inode: a store that was deleted and made again has other files of the same names.
_File = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shard:
    """One open shard: its tables and the transaction that reads them, and the file itself.

    places   of the rows, which are read through `descriptor` rather than out of the mapped file: a whole row
             in one go and not a page at a time, and without its pages counting as memory of this process
    """

    file: _File
    env: lmdb.Environment
    rows: Any
    keys: Any
    transaction: lmdb.Transaction
    descriptor: int
    places: RowPlaces

    @staticmethod
    def open(path: Path, file: _File) -> Shard:
        env = lmdb.open(
            str(path), subdir=False, readonly=True, lock=False, max_dbs=2, readahead=False, max_spare_txns=0
        )
        with ExitStack() as undo:
            undo.callback(env.close)
            # Before the transaction begins: it would not see tables that were opened later.
            rows, keys = (env.open_db(name, create=False) for name in (b"rows", b"keys"))
            descriptor = _open_for_rows(path)
            undo.callback(os.close, descriptor)
            places = RowPlaces(descriptor)
            shard = Shard(file, env, rows, keys, env.begin(buffers=True), descriptor, places)
            undo.pop_all()
        return shard

    def close(self) -> None:
        self.transaction.abort()
        self.env.close()
        os.close(self.descriptor)


def _open_for_rows(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    if hasattr(os, "posix_fadvise"):
        # The rows of a batch lie anywhere: what the system would read beyond each is read for nothing.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    return descriptor


@dataclass(slots=True)
class _Use:
    """An open shard and how many readers of this process use it."""

    shard: Shard
    readers: int = 0


# LMDB refuses to open a file twice in one process, and a data set may well have two readers of a bank.
_open_shards: dict[_File, _Use] = {}
_open_lock = threading.Lock()
_reader_lock = threading.Lock()


def opening() -> AbstractContextManager[object]:
    """Held while a reader looks for its open shard or opens it: its threads must not do so at once."""
    return _reader_lock


def _close_in_child() -> None:
    """A forked child may not use its parent's environments, and not open the files again beside them."""
    global _open_lock, _reader_lock
    _open_lock, _reader_lock = threading.Lock(), threading.Lock()  # a thread of the parent may have held them
    for use in _open_shards.values():
        use.shard.env.close()
        os.close(use.shard.descriptor)
    _open_shards.clear()


os.register_at_fork(after_in_child=_close_in_child)


def acquire(path: Path) -> Shard:
    """An open shard, to be given back with `release`. Raises OSError or lmdb.Error where it is damaged."""
    status = path.stat()
    file = status.st_dev, status.st_ino
    with _open_lock:
        if file not in _open_shards:
            _open_shards[file] = _Use(Shard.open(path, file))
        _open_shards[file].readers += 1
        return _open_shards[file].shard


def release(shard: Shard) -> None:
    """Closes the shard when its last reader has given it back; its payloads are not valid any more."""
    with _open_lock:
        use = _open_shards[shard.file]
        use.readers -= 1
        if not use.readers:
            del _open_shards[shard.file]
            shard.close()
