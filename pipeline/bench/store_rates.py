"""How fast layouts are read, from memory and from the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from cache.keys import digest_bytes
from pipeline.bench.layouts import SHAPES, Layout
from pipeline.bench.page_cache import drop, read_from_disk, resident_share
from stages.student.reading.read_ahead import read_ahead

_CHUNK = 8 << 20  # what is read at once where a file is read in order
_COPIES = 8
_COLD = 0.01  # share of the files that may still be in memory

Rates = dict[str, list[float]]


@dataclass(slots=True)
class ColdPasses:
    """Passes over files that were dropped from the page cache.

    rates      per second: pictures of a layout, bytes of "disk" and "verify"
    resident   largest share of the files that was in memory nevertheless
    from_disk  smallest share of the bytes of a pass that the system counts as fetched from a disk
    """

    rates: Rates = field(default_factory=dict)
    resident: float = 0.0
    from_disk: float = 1.0
    fast_seconds: float = 0.0
    picture_bytes: float = 0.0

    def run(self, name: str, layout: Layout, measure: Callable[[], float]) -> None:
        layout.close()  # a mapped page is not dropped
        files = layout.files()
        drop(files)
        self.resident = max(self.resident, resident_share(files))
        before = read_from_disk()
        self.rates.setdefault(name, []).append(measure())
        fetched = (read_from_disk() - before) / sum(path.stat().st_size for path in files)
        self.from_disk = min(self.from_disk, fetched)

    @property
    def is_cold(self) -> bool:
        return self.resident <= _COLD

    @property
    def figures(self) -> dict[str, float | None]:
        disk = self.rates["disk"]
        found: dict[str, float | None] = {
            "cold_bf16_vs_pt": ratio(self.rates["bf16"], self.rates["pt"]),
            "cold_int8_vs_pt": ratio(self.rates["int8"], self.rates["pt"]),
            "cold_vs_disk": ratio(self.rates["bf16"], disk) * self.picture_bytes,
            "verify_vs_disk": ratio(self.rates["verify"], disk),
        }
        if not self.is_cold:
            found = dict.fromkeys(found)
        return {**found, "verify_fast_seconds": self.fast_seconds}

    def notes(self) -> list[str]:
        if not self.is_cold:
            return [
                f"cold was not measured: {self.resident:.0%} of the files stayed in memory when they were "
                "dropped, as on a disk in memory; give --folder on a disk"
            ]
        return [
            f"cold: files dropped from the page cache (posix_fadvise), {self.resident:.1%} of them left "
            f"there (mincore); {self.from_disk:.0%} or more of the bytes came from the disk (/proc/self/io); "
            "a virtual machine's host may still have them in memory of its own"
        ]


def picture_rate(layout: Layout, wanted: Sequence[list[int]]) -> float:
    """Pictures per second, batches read ahead as training does."""
    start = time.perf_counter()
    for tensors in read_ahead(layout.read, wanted):
        assert len(tensors) == len(SHAPES)
    return sum(map(len, wanted)) / (time.perf_counter() - start)


def byte_rate(count: int, read: Callable[[], object]) -> float:
    start = time.perf_counter()
    read()
    return count / (time.perf_counter() - start)


def read_in_order(files: Iterable[Path]) -> None:
    room = bytearray(_CHUNK)
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            while os.readv(descriptor, [room]):
                pass
        finally:
            os.close(descriptor)


def copy_rate(count: int) -> float:
    """Bytes per second of copying so many bytes in memory that is there already."""
    source, target = np.ones(count, np.uint8), np.ones(count, np.uint8)
    start = time.perf_counter()
    for _ in range(_COPIES):
        np.copyto(target, source)
    return count * _COPIES / (time.perf_counter() - start)


def checksum_rate(count: int) -> float:
    """Bytes per second that one core works out checksums of, as `verify` does with several."""
    data = bytes(count)
    return byte_rate(count, lambda: digest_bytes(data))


def ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    """The median over passes, of two things that took turns."""
    return median(rate / other for rate, other in zip(rates, others, strict=True))
