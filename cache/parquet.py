"""Parquet parts: written whole, read with the damage named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cache.atomic import replacing
from cache.errors import UserError
from cache.manifest import Manifest, Part
from cache.paths import StorePaths
from cache.replaced_parts import read_anew


def write_table(target: Path, table: pa.Table, group: int | None = None) -> None:
    """Raises MachineError where the disk is full or cannot be written.

    group   rows that can be read without the others; None = a million
    """
    with replacing(target) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=group)


def read_listed(
    paths: StorePaths, find: Callable[[Manifest], list[Part]], schema: pa.Schema, columns: list[str]
) -> pa.Table:
    """The rows of the parts that `find` picks out of the manifest, as `read_parts` gives them.

    Begins anew where others take their place meanwhile, see `read_anew`.
    """
    return read_anew(paths, find, lambda parts: read_parts(paths, parts, schema, columns))


def read_parts(paths: StorePaths, parts: Sequence[Part], schema: pa.Schema, columns: list[str]) -> pa.Table:
    """The parts' rows one after another, only the given columns of `schema`, in the order given.

    Raises UserError where a part is missing or damaged.
    """
    picked = pa.schema([schema.field(name) for name in columns])
    return pa.concat_tables(
        [_read_part(paths.root / part.path, picked) for part in parts] or [picked.empty_table()]
    )


def _read_part(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        # `ParquetFile` takes the path as it is; other readers see patterns in "[1]" and columns in "a=1".
        with pq.ParquetFile(path) as file:
            return file.read(columns=schema.names).select(schema.names)
    except (OSError, pa.ArrowException, KeyError) as reason:
        raise _damaged(path, reason) from None


def read_column(
    path: Path, name: str, rows: int, wanted: NDArray[np.int64] | None = None
) -> Iterator[tuple[int, pa.Array]]:
    """One column of a part, at most `rows` rows at a time and never more of the file in memory.

    Yields the number of the first row and the values; `wanted`, ascending, are numbers of the only rows that
    matter: groups of rows without any of them are passed over. Raises UserError as `read_parts` does.
    """
    try:
        # Without a buffer size a whole column of a row group is read at once.
        with pq.ParquetFile(path, buffer_size=1 << 20) as file:
            begin = 0
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                if wanted is None or np.diff(np.searchsorted(wanted, (begin, end)))[0]:
                    for batch in file.iter_batches(rows, row_groups=[group], columns=[name]):
                        yield begin, batch.column(0)
                        begin += len(batch)
                begin = end
    except (OSError, pa.ArrowException) as reason:
        raise _damaged(path, reason) from None


def column_type(path: Path, name: str) -> pa.DataType:
    """Raises UserError as `read_parts` does."""
    try:
        return pq.read_schema(path).field(name).type
    except (OSError, pa.ArrowException, KeyError) as reason:
        raise _damaged(path, reason) from None


def _damaged(path: Path, reason: Exception) -> UserError:
    return UserError(
        f"part {path} cannot be read ({reason}); find the damage with `mipd-pipe inspect verify`"
    )
