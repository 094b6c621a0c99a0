"""What other processes do with a bank; in a file of its own so that a spawned process can import it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

import cache.shards
from cache.bank_header import BankHeader
from cache.bank_reader import BankReader
from cache.bank_writer import ShardWriter
from cache.paths import StorePaths
from tests.cache.small_store import noise


def read_rows(readers: Sequence[BankReader], images: Sequence[str], answer: Connection) -> None:
    """Sends how many shards of the store are open in this process beforehand, and the sum of each row."""
    used, unused = readers
    before = sum(used._paths.root in use.shard.path.parents for use in cache.shards._open_shards.values())
    unused.close()
    answer.send((before, [float(used.read(image).tokens.sum()) for image in images]))
    used.close()


def die_in_shard(paths: StorePaths, header: BankHeader, rows: int) -> None:
    """Writes a shard and kills itself after so many rows."""
    with ShardWriter.open(paths, header, 10 * rows, {}) as shard:
        for i in range(rows):
            shard.add(f"{i}.jpg", "00" * 16, noise(*header.shape, seed=i))
        os.kill(os.getpid(), signal.SIGKILL)
