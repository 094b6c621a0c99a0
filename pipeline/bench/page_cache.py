"""Files out of the system's page cache, and proof that they are."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def drop(files: Iterable[Path]) -> None:
    """Asks the system to forget what it holds of these files, which needs no right; they must be synced.

    Pages that some process has mapped stay. A virtual machine's host has a cache of its own, out of reach.
    """
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident_share(files: Iterable[Path]) -> float:
    """The share of the files' bytes that the page cache holds."""
    held = pages = 0
    for path in files:
        flags = _resident_pages(path)
        held, pages = held + int(flags.sum()), pages + flags.size
    return held / pages if pages else 0.0


def _resident_pages(path: Path) -> NDArray[np.uint8]:
    """[pages] 1 where the page is in memory (mincore); mapping a file reads none of it."""
    size = path.stat().st_size
    if not size:
        return np.zeros(0, np.uint8)
    flags = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        address = ctypes.c_void_p(view.__array_interface__["data"][0])
        del view  # or the map could not be closed
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mincore(address, ctypes.c_size_t(size), flags.ctypes.data_as(ctypes.c_void_p)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    return np.bitwise_and(flags, np.uint8(1))


def read_from_disk() -> int:
    """Bytes this process has had fetched from a disk so far, threads included."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))
