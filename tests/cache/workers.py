"""What other processes do with a bank; in a file of its own so that a spawned process can import it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

from cache.banks import BankHeader, BankReader, ShardWriter
from cache.paths import StorePaths
from tests.cache.small_store import noise


def read_rows(reader: BankReader, images: Sequence[str], answer: Connection) -> None:
    """Sends the sum of each row, and how many shards were open when the reader arrived."""
    opened = len(reader._open)
    answer.send((opened, [float(reader.read(image).tokens.sum()) for image in images]))
    reader.close()


def die_in_shard(paths: StorePaths, header: BankHeader, rows: int) -> None:
    """Writes a shard and kills itself after so many rows."""
    with ShardWriter.open(paths, header, 10 * rows, {}) as shard:
        for i in range(rows):
            shard.add(f"{i}.jpg", "00" * 16, noise(*header.shape, seed=i))
        os.kill(os.getpid(), signal.SIGKILL)
