"""Writes the shards of a bank; `cache.bank_reader` tells what lies in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from cache.atomic import replacing
from cache.bank_header import BankHeader
from cache.codec import encode
from cache.errors import UserError
from cache.fidelity import FidelityProbe
from cache.lmdb_file import writing
from cache.manifest import Part, describe_part, next_number
from cache.paths import StorePaths
from cache.stored_rows import LENGTH_TYPE

_COMMIT_BYTES = 64 << 20  # dirty pages held in memory before they go to the file
_KEY_LIMIT = 511  # LMDB's longest key


class ShardWriter:
    """Fills one shard; nothing of it is visible before its block has ended.

    Used as ``with ShardWriter.open(...) as shard: shard.add(...)``; leaving the block without an exception
    renames the file into place, after which `part` describes it for the manifest.
    """

    def __init__(
        self, header: BankHeader, env: lmdb.Environment, tables: tuple[Any, Any], capacity: int
    ) -> None:
        self.header = header
        self.part: Part | None = None
        self.remarks: dict[str, Any] = {}  # kept with what is measured of the part
        self.fidelity = FidelityProbe(header.shape, header.storage, capacity)
        self._env, self._tables = env, tables
        self._pending: list[tuple[bytes, bytes, bytes]] = []

    @staticmethod
    @contextmanager
    def open(
        paths: StorePaths, header: BankHeader, capacity: int, producer: dict[str, Any]
    ) -> Iterator[ShardWriter]:
        """A writer for at most `capacity` rows. Disk faults are raised as MachineError."""
        folder = paths.bank(header.name)
        target = folder / f"{header.fingerprint[:12]}-{next_number(paths, folder, '.lmdb'):05d}.lmdb"
        with replacing(target) as temporary, writing(temporary, capacity, header.row_bytes) as (env, *tables):
            writer = ShardWriter(header, env, (tables[0], tables[1]), capacity)
            yield writer
            writer._flush()
            rows = writer._count()
        if rows:
            measured = {**writer.fidelity.record(), **writer.remarks}
            name, mark = header.name, header.fingerprint
            writer.part = describe_part(paths, target, "bank", rows, producer, name, mark, measured)
        else:
            target.unlink()

    def parts(self) -> list[Part]:
        """The finished shard's manifest entry; none where no row was added."""
        return [self.part] if self.part else []

    def add(
        self,
        image: str,
        row_key: str,
        tokens: NDArray[np.float32],
        lengths: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Adds a row. `row_key` is a hex fingerprint of all that decided the row."""
        header = self.header
        assert tokens.shape == header.shape, (tokens.shape, header.shape)
        assert (lengths is not None) == header.masked
        try:
            payload = encode(tokens, header.storage)
        except ValueError as reason:
            raise UserError(f"bank {header.name!r}, image {image!r}: {reason}") from None
        self.fidelity.note(tokens, payload, lengths)
        if lengths is not None:
            payload += lengths.astype(LENGTH_TYPE).tobytes()
        self._pending.append((_lmdb_key(image), bytes.fromhex(row_key), payload))
        if len(self._pending) * header.row_bytes >= _COMMIT_BYTES:
            self._flush()

    def _flush(self) -> None:
        rows, keys = self._tables
        with self._env.begin(write=True) as transaction:
            for key, row_key, payload in self._pending:
                transaction.put(key, payload, db=rows)
                transaction.put(key, row_key, db=keys)
        self._pending.clear()

    def _count(self) -> int:
        with self._env.begin() as transaction:
            return int(transaction.stat(self._tables[0])["entries"])


def _lmdb_key(image: str) -> bytes:
    key = image.encode()
    if not 0 < len(key) <= _KEY_LIMIT:
        raise UserError(
            f"image name {image[:60]!r}... has {len(key)} bytes; a bank's key holds 1 to {_KEY_LIMIT}: "
            "rename the picture"
        )
    return key
