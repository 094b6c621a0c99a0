"""One writer at a time, held by the operating system so that a killed writer holds nothing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cache.atomic import disk_fault
from cache.errors import MachineError, UserError

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_held: set[int] = set()  # descriptors of this process's locks


@contextmanager
def writer_lock(folder: Path, command: str) -> Iterator[None]:
    """Holds `folder` for writing; a second writer is refused with the name of the holder (UserError).

    The lock is `flock` on a file: the kernel releases it when the holder ends in whatever way, so there
    is no stale lock to clean up. The file's text only names the holder. Raises MachineError where the
    disk cannot be written or knows no locks.
    """
    path = folder / "writer.lock"
    descriptor = open_lock_file(path)
    _held.add(descriptor)
    try:
        if not try_lock(descriptor, path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            raise UserError(
                f"{folder} is being written by {_holder(path)}; only one writer is allowed, because two "
                "would remove each other's unfinished parts: wait for it to end, or stop it"
            )
        _write_name(descriptor, path, command)
        yield
    finally:
        if descriptor in _held:  # not so in a forked child, which has let go of it already
            _held.remove(descriptor)
            os.close(descriptor)


def open_lock_file(path: Path) -> int:
    """A descriptor of a lock's file, made with its folder where they are missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as reason:
        raise disk_fault(reason, path) from reason


def try_lock(descriptor: int, path: Path, operation: int) -> bool:
    """`flock`: False where another process holds it. Raises MachineError where the disk knows no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as reason:
        if reason.errno not in _UNSUPPORTED:
            raise
        raise MachineError(
            f"{path} cannot be locked ({reason.strerror}), so a second writer could not be kept out: "
            "mount the disk with flock, or choose a run_dir on a local disk"
        ) from reason
    return True


def _let_go() -> None:
    """A forked child shares its parent's locks; it closes them, or a killed parent would still hold them."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _write_name(descriptor: int, path: Path, command: str) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "started": started}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError as reason:
        raise disk_fault(reason, path) from reason


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return (
            f"`{holder['command']}` (process {holder['pid']} on {holder['host']}, since {holder['started']})"
        )
    except (OSError, ValueError, KeyError):  # it may be between creating the file and writing its name
        return "another process that has not written its name yet"
