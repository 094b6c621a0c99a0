"""Writes chosen rows of finished parts into new ones, a batch at a time; lists and removes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cache.atomic import replacing
from cache.errors import UserError
from cache.keys import digest_file
from cache.lmdb_file import OpenFile, reading, writing
from cache.manifest import Part, describe_part, next_number, part_file
from cache.paths import StorePaths

_BATCH = 2048  # rows in memory, and in a row group: what a reader of few columns has to skip over
_COMMIT_BYTES = 64 << 20


def require_whole(paths: StorePaths, parts: Sequence[Part]) -> None:
    """Raises UserError where a part is not what the manifest says: a new checksum would hide the damage."""
    for part in parts:
        path = paths.root / part.path
        if not path.exists() or path.stat().st_size != part.bytes or digest_file(path) != part.checksum:
            raise UserError(
                f"{path} is missing or damaged, and rewriting it would hide that: run `mipd-pipe inspect "
                "repair` first; nothing of it was changed"
            )


def merge_parts(
    paths: StorePaths,
    parts: Sequence[Part],
    kept: NDArray[np.bool_],
    rows_per_part: int,
    producer: dict[str, Any],
) -> list[Part]:
    """New parts with the rows of `parts` that `kept` [rows of all parts] marks, in the same order.

    All parts are of one kind, name and fingerprint. A part ends at the first change of picture after
    `rows_per_part` rows. Raises MachineError where the disk is full.
    """
    first, old = parts[0], paths.root / parts[0].path
    stem = "part" if first.kind in ("rationales", "quarantine") else first.name
    with pq.ParquetFile(old) as file:
        schema = file.schema_arrow
    rows = _Rows(_kept_batches(paths, parts, kept))
    merged: list[Part] = []
    while not rows.at_end:
        target = old.parent / part_file(stem, next_number(paths, old.parent, ".parquet"), ".parquet")
        written = 0
        with (
            replacing(target) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
        ):
            for batch in rows.up_to(rows_per_part):
                writer.write_batch(batch)
                written += batch.num_rows
        part = describe_part(paths, target, first.kind, written, producer, first.name, first.fingerprint)
        merged.append(part)
    return merged


class _Rows:
    """Batches that can be cut between two pictures."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rest: pa.RecordBatch | None = next(batches, None)

    @property
    def at_end(self) -> bool:
        return self._rest is None

    def up_to(self, count: int) -> Iterator[pa.RecordBatch]:
        """At least `count` rows where there are so many, and the rest of the last row's picture."""
        last = None
        while self._rest is not None:
            batch, cut = self._rest, count
            if count < self._rest.num_rows:
                images = self._rest.column("image").to_pylist()
                before = images[cut - 1] if cut else last
                while cut < len(images) and images[cut] == before:
                    cut += 1
            if cut < batch.num_rows:
                self._rest = batch.slice(cut)
                if cut:
                    yield batch.slice(0, cut)
                return
            count, last = max(0, count - batch.num_rows), batch.column("image")[-1].as_py()
            self._rest = next(self._batches, None)
            yield batch


def _kept_batches(
    paths: StorePaths, parts: Sequence[Part], kept: NDArray[np.bool_]
) -> Iterator[pa.RecordBatch]:
    start = 0
    for part in parts:
        with pq.ParquetFile(paths.root / part.path) as file:
            for batch in file.iter_batches(_BATCH):
                chosen = batch.filter(pa.array(kept[start : start + batch.num_rows]))
                start += batch.num_rows
                if chosen.num_rows:
                    yield chosen
    assert start == len(kept), (start, len(kept))


def rewrite_shard(paths: StorePaths, part: Part, keep: Collection[str]) -> Part:
    """A new shard with the rows of `part` whose image is in `keep`, byte for byte.

    Raises UserError where the shard is damaged, MachineError where the disk is full.
    """
    old = paths.root / part.path
    stem = old.name.rpartition("-")[0]
    target = old.parent / part_file(stem, next_number(paths, old.parent, ".lmdb"), ".lmdb")
    row_bytes = part.bytes // max(1, part.rows)  # with what its pages take beside
    with (
        replacing(target) as temporary,
        reading(old) as source,
        writing(temporary, len(keep), row_bytes) as (env, *tables),
    ):
        _copy_rows(source, env, tables, keep)
    return describe_part(
        paths, target, "bank", len(keep), part.producer, part.name, part.fingerprint, part.measured
    )


def _copy_rows(source: OpenFile, env: lmdb.Environment, tables: Sequence[Any], keep: Collection[str]) -> None:
    rows, keys = tables
    pending: list[tuple[bytes, bytes, bytes]] = []
    held = 0

    def flush() -> None:
        with env.begin(write=True) as transaction:
            for image, key, payload in pending:
                # Appended: they come in the order of their keys, and so fill their pages.
                transaction.put(image, payload, db=rows, append=True)
                transaction.put(image, key, db=keys, append=True)
        pending.clear()

    for name, key in source.row_keys():
        if name in keep:
            image = name.encode()
            payload = bytes(source.payload(image) or b"")
            pending.append((image, bytes.fromhex(key), payload))
            held += len(payload)
        if held >= _COMMIT_BYTES:
            flush()
            held = 0
    flush()
