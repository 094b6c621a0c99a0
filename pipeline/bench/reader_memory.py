"""How much memory a process takes that reads an epoch of a store."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

from cache.errors import MachineError
from pipeline.bench.child import peak_mib
from pipeline.bench.layouts import Store


def reader_peak_mib(store: Store, wanted: list[list[int]]) -> float:
    """Peak of a new process that reads these batches one after the other."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_read, args=(store, wanted, theirs))
    process.start()
    theirs.close()
    try:
        peak: float = mine.recv()
    except EOFError:
        raise MachineError("the process whose memory was measured ended without an answer") from None
    finally:
        process.join()
    return peak


def _read(store: Store, wanted: list[list[int]], answer: Connection) -> None:
    for pictures in wanted:
        store.read(pictures)
    answer.send(peak_mib())
