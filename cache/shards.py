"""Shards open in this process, shared by all its readers."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

# Device and inode: a store that was deleted and made again has other files of the same names.
_File = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shard:
    """One open shard: its tables and the transaction that reads them."""

    file: _File
    env: lmdb.Environment
    rows: Any
    keys: Any
    transaction: lmdb.Transaction

    @staticmethod
    def open(path: Path, file: _File) -> Shard:
        env = lmdb.open(
            str(path), subdir=False, readonly=True, lock=False, max_dbs=2, readahead=False, max_spare_txns=0
        )
        try:
            # Before the transaction begins: it would not see tables that were opened later.
            rows, keys = (env.open_db(name, create=False) for name in (b"rows", b"keys"))
            return Shard(file, env, rows, keys, env.begin(buffers=True))
        except lmdb.Error:
            env.close()
            raise


@dataclass(slots=True)
class _Use:
    """An open shard and how many readers of this process use it."""

    shard: Shard
    readers: int = 0


# LMDB refuses to open a file twice in one process, and a data set may well have two readers of a bank.
_open_shards: dict[_File, _Use] = {}
_open_lock = threading.Lock()


def _close_in_child() -> None:
    """A forked child may not use its parent's environments, and not open the files again beside them."""
    global _open_lock
    _open_lock = threading.Lock()  # another thread of the parent may have held it
    for use in _open_shards.values():
        use.shard.env.close()
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
            shard.transaction.abort()
            shard.env.close()
