"""Shards open in this process, shared by all its readers."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from cache.lmdb_file import reading
from cache.row_places import Place, RowPlaces, UnknownLayoutError

# Device and inode: a store that was deleted and made again has other files of the same names.
_File = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shard:
    """One open shard, whose rows are read through `descriptor` rather than out of the mapped file.

    That takes a row in one go and not a page at a time, its pages do not count as memory of this process, a
    file cut short is an error and not a SIGBUS, and a forked child may read on: every read names its offset.

    places   None where LMDB of another version or machine laid the file out: then LMDB itself reads it, which
             is slower and as right
    """

    file: _File
    path: Path
    descriptor: int
    places: RowPlaces | None

    @staticmethod
    def open(path: Path, file: _File) -> Shard:
        descriptor = os.open(path, os.O_RDONLY)
        with ExitStack() as undo:
            undo.callback(os.close, descriptor)
            if hasattr(os, "posix_fadvise"):
                # A batch's rows lie anywhere: what the system would read beyond each is read for nothing.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            shard = Shard(file, path, descriptor, _known_places(descriptor))
            undo.pop_all()
        return shard

    def find(self, key: bytes) -> Place | None:
        """Where the row of a key lies; None where there is none. Raises ValueError where it is damaged."""
        if self.places is not None:
            return self.places.find(key)
        with reading(self.path) as opened:
            payload = opened.payload(key)
            return None if payload is None else Place(0, len(payload))

    def read(self, key: bytes, place: Place, into: Sequence[memoryview]) -> None:
        """Fills `into`, bytes that are as many as the row's, with the row that `find` found.

        Raises ValueError where the file ends first, OSError where the disk fails.
        """
        if self.places is not None:
            if not _read_fully(self.descriptor, list(into), place.offset):
                raise ValueError(f"it ends within the row of image {key.decode()!r}")
            return
        with reading(self.path) as opened:
            payload = opened.payload(key)
            if payload is None or len(payload) != place.size:
                raise ValueError("it changed while it was read")
            _spread(payload, into)

    def close(self) -> None:
        os.close(self.descriptor)


def _known_places(descriptor: int) -> RowPlaces | None:
    try:
        return RowPlaces(descriptor)
    except UnknownLayoutError:
        return None


def _read_fully(descriptor: int, into: list[memoryview], offset: int) -> bool:
    """False where the file ends first. A read may bring less without that: on network disks, beyond 2 GiB."""
    while into:
        count = _read_some(descriptor, into, offset)
        if not count:
            return False
        offset += count
        while into and count >= len(into[0]):
            count -= len(into.pop(0))
        if count:
            into[0] = into[0][count:]
    return True


def _read_some(descriptor: int, into: Sequence[memoryview], offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, into, offset)
    raw = os.pread(descriptor, sum(map(len, into)), offset)  # systems without it pay with a copy
    _spread(memoryview(raw), into)
    return len(raw)


def _spread(data: memoryview, into: Sequence[memoryview]) -> None:
    for part in into:
        count = min(len(part), len(data))
        part[:count], data = data[:count], data[count:]


@dataclass(slots=True)
class _Use:
    """An open shard and how many readers of this process use it."""

    shard: Shard
    readers: int = 0


# A data set may well have several readers of a bank, and a process only so many open files.
_open_shards: dict[_File, _Use] = {}
_open_lock = threading.Lock()
_reader_lock = threading.Lock()


def opening() -> AbstractContextManager[object]:
    """Held while a reader looks for its open shard or opens it: its threads must not do so at once."""
    return _reader_lock


def _renew_locks_in_child() -> None:
    """A thread of the parent may have held them. What is open stays so: the child has its own descriptors."""
    global _open_lock, _reader_lock
    _open_lock, _reader_lock = threading.Lock(), threading.Lock()


os.register_at_fork(after_in_child=_renew_locks_in_child)


def acquire(path: Path) -> Shard:
    """An open shard, to be given back with `release`. Raises OSError or ValueError where it is damaged."""
    status = path.stat()
    file = status.st_dev, status.st_ino
    with _open_lock:
        if file not in _open_shards:
            _open_shards[file] = _Use(Shard.open(path, file))
        _open_shards[file].readers += 1
        return _open_shards[file].shard


def release(shard: Shard) -> None:
    """Closes the shard when its last reader has given it back."""
    with _open_lock:
        use = _open_shards[shard.file]
        use.readers -= 1
        if not use.readers:
            del _open_shards[shard.file]
            shard.close()
