"""How much memory a process takes that reads an epoch of a store."""

from __future__ import annotations

from pipeline.bench.child import in_new_process, peak_mib
from pipeline.bench.layouts import Store


def reader_peak_mib(store: Store, wanted: list[list[int]]) -> float:
    """Peak of a new process that reads these batches one after the other."""
    peak: float = in_new_process(_read, store, wanted)
    return peak


def _read(store: Store, wanted: list[list[int]]) -> float:
    for pictures in wanted:
        store.read(pictures)
    return peak_mib()
