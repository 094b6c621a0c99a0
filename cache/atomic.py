"""A finished file appears all at once: written beside, flushed, renamed, folder synced."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cache.errors import MachineError

TEMPORARY = ".tmp-"  # files with this in their name are leftovers of a killed process and never read
_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; on leaving, syncs it and renames it over `target`.

    On an exception the temporary file is removed and `target` stays as it was. A full or read-only
    disk is raised as MachineError.
    """
    # Random, for processes in containers, which may share a disk, often have the same number.
    temporary = target.with_name(f"{target.name}{TEMPORARY}{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync_file(temporary)
        temporary.replace(target)
        sync_folder(target.parent)
    except BaseException as reason:
        with suppress(OSError):  # a read-only disk refuses even this
            temporary.unlink(missing_ok=True)
        if isinstance(reason, OSError):
            raise disk_fault(reason, target) from reason
        raise


def write_bytes(target: Path, data: bytes) -> None:
    """Puts `data` in place of whatever `target` held. Raises MachineError as `replacing` does."""
    with replacing(target) as temporary:
        temporary.write_bytes(data)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut."""
    sync_file(folder)


def disk_fault(reason: OSError, target: Path) -> Exception:
    """A clear error for the faults a disk has; any other OSError is returned as it is."""
    said = os.strerror(reason.errno or 0)  # pyarrow puts a sentence of its own into `strerror`
    if reason.errno in _FULL:
        there = next(path for path in (target, *target.parents) if path.exists())
        return MachineError(
            f"no space left to write {target} ({said}; the disk has "
            f"{shutil.disk_usage(there).free / 2**20:.0f} MiB free); what was finished is kept: "
            "make room, then run the same command again"
        )
    if reason.errno in _READ_ONLY:
        return MachineError(
            f"{target.parent} cannot be written ({said}); "
            "make it writable or choose another run_dir, then run the same command again"
        )
    if reason.errno == errno.EIO:
        return MachineError(
            f"the disk failed while writing {target} ({said}); what was finished is kept: "
            "check the disk, then run the same command again"
        )
    return reason


def system_fault(reason: Exception) -> Exception:
    """The OSError behind an error of a library that reports the system's fault by text alone, as LMDB does.

    Any other error is returned as it is.
    """
    codes = (*_FULL, *_READ_ONLY, errno.EIO)
    code = next((code for code in codes if os.strerror(code) in str(reason)), None)
    return reason if code is None else OSError(code, os.strerror(code))
