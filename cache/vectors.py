"""Pooled vectors and label vectors in Parquet, every vector beside its key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from cache.errors import UserError
from cache.keys import derive_number
from cache.manifest import Part, PartKind, describe_part, load_manifest, next_number, part_file
from cache.parquet import column_type, read_column, read_listed, read_parts, write_table
from cache.paths import StorePaths

Floats = NDArray[np.float32]

PICTURES = "pictures"  # one vector per picture
RATIONALES = "rationales"  # one vector per usable rationale
LABELS = ("verbs", "roles", "nouns")
_KEY_COLUMNS = ["id", "image", "aspect", "polarity", "row_key"]
_GROUP = 256  # vectors that are read together where only some are wanted
_BLOCK_VALUES = 1 << 20  # numbers of a block of vectors: 4 MiB


@dataclass(frozen=True, slots=True)
class VectorKey:
    """What a pooled vector stands for; aspect and polarity are "" for a picture."""

    image: str
    aspect: str = ""
    polarity: str = ""

    @property
    def id(self) -> int:
        """The number FAISS carries: decided by the key, so no file relies on another file's row order."""
        return derive_number("vector", self.image, self.aspect, self.polarity)


def vector_schema(dim: int) -> pa.Schema:
    fields = [pa.field("id", pa.int64(), nullable=False)]
    fields += [
        pa.field(name, pa.string(), nullable=False) for name in ("image", "aspect", "polarity", "row_key")
    ]
    return pa.schema([*fields, pa.field("vector", pa.list_(pa.float32(), dim), nullable=False)])


def label_schema(dim: int) -> pa.Schema:
    fields = [pa.field(name, pa.string(), nullable=False) for name in ("label", "text")]
    return pa.schema([*fields, pa.field("vector", pa.list_(pa.float32(), dim), nullable=False)])


def write_vectors(
    paths: StorePaths,
    family: str,
    keys: Sequence[VectorKey],
    row_keys: Sequence[str],
    vectors: Floats,
    fingerprint: str,
    producer: dict[str, Any],
) -> Part:
    """Writes one part of pooled vectors [N, E] and returns its manifest entry."""
    assert len(keys) == len(row_keys) == len(vectors)
    columns = [
        pa.array([key.id for key in keys], pa.int64()),
        pa.array([key.image for key in keys]),
        pa.array([key.aspect for key in keys]),
        pa.array([key.polarity for key in keys]),
        pa.array(list(row_keys)),
        _vector_column(vectors),
    ]
    table = pa.Table.from_arrays(columns, schema=vector_schema(vectors.shape[1]))
    number = next_number(paths, paths.vectors, ".parquet")
    target = paths.vectors / f"{family}-{number:05d}.parquet"
    return _write(paths, table, target, "vectors", family, fingerprint, producer)


def write_labels(
    paths: StorePaths,
    family: str,
    labels: Sequence[str],
    texts: Sequence[str],
    vectors: Floats,
    fingerprint: str,
    producer: dict[str, Any],
    tag: str = "",
) -> Part:
    """Writes the label vectors [N, E] of one family and returns the manifest entry.

    tag   names the worker where several write side by side (see `next_number`)
    """
    assert family in LABELS
    assert len(labels) == len(texts) == len(vectors)
    columns = [
        pa.array(list(labels), pa.string()),
        pa.array(list(texts), pa.string()),
        _vector_column(vectors),
    ]
    table = pa.Table.from_arrays(columns, schema=label_schema(vectors.shape[1]))
    number = next_number(paths, paths.vectors, ".parquet", tag)
    target = paths.vectors / part_file(f"labels-{family}", number, ".parquet", tag)
    return _write(paths, table, target, "labels", family, fingerprint, producer)


def _vector_column(vectors: Floats) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def _write(
    paths: StorePaths,
    table: pa.Table,
    target: Path,
    kind: PartKind,
    family: str,
    fingerprint: str,
    producer: dict[str, Any],
) -> Part:
    write_table(target, table, _GROUP)
    return describe_part(paths, target, kind, table.num_rows, producer, family, fingerprint)


def read_vectors(paths: StorePaths, family: str, with_vectors: bool = True) -> pl.DataFrame:
    """The newest vector of each key in force: columns of `vector_schema`, `vector` only where asked for.

    Raises UserError where a part is missing or damaged.
    """
    columns = [*_KEY_COLUMNS, *(["vector"] if with_vectors else [])]
    table = read_listed(paths, lambda m: m.in_force("vectors", family), vector_schema(1), columns)
    return _newest(table, family)


def _newest(table: pa.Table, family: str) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    # A picture's newest row key decides: a rationale that its newer version no longer has must not be found.
    newest = frame.filter(pl.col("row_key").last().over("image") == pl.col("row_key"))
    newest = newest.unique("id", keep="last", maintain_order=True)
    # A rationale names its aspect; a row that names none says that the newest version has no rationale.
    return newest.filter(pl.col("aspect") != "") if family == RATIONALES else newest


class NewestVectors:
    """The newest vector of each key in force, in blocks, so that they need not fit into memory.

    keys   columns id, image, aspect, polarity, row_key and `row`, its number among the rows of all parts
    width  E
    """

    def __init__(self, paths: StorePaths, family: str, parts: Sequence[Part]) -> None:
        assert parts
        self.parts = list(parts)
        self._files = [paths.root / part.path for part in parts]
        table = read_parts(paths, parts, vector_schema(1), _KEY_COLUMNS)
        table = table.append_column("row", pa.array(np.arange(table.num_rows)))
        self.keys = _newest(table, family)
        self.width = int(column_type(self._files[0], "vector").list_size)

    def __len__(self) -> int:
        return self.keys.height

    def blocks(
        self, values: int = _BLOCK_VALUES, only: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """ids [n] and their vectors [n, E], n x E at most `values`, in the order of the parts' rows.

        only    ids of the vectors to be read; None = all

        Raises UserError where a part is missing or damaged.
        """
        rows, ids = self.keys["row"].to_numpy(), self.keys["id"].to_numpy()
        if only is not None:
            chosen = np.isin(ids, only)
            rows, ids = rows[chosen], ids[chosen]
        first = 0
        for file, part in zip(self._files, self.parts, strict=True):
            here = rows[slice(*np.searchsorted(rows, (first, first + part.rows)))] - first
            for begin, column in read_column(file, "vector", max(1, values // self.width), here):
                mine = slice(*np.searchsorted(rows, (first + begin, first + begin + len(column))))
                if mine.start < mine.stop:
                    yield ids[mine], matrix(column)[rows[mine] - first - begin]
            first += part.rows


def vector_versions(paths: StorePaths, family: str) -> dict[str, str]:
    """Image -> row key of its newest vectors in force; of rationales also where the newest text is none.

    Raises UserError where a part is missing or damaged.
    """
    columns = ["image", "row_key"]
    rows = read_listed(paths, lambda m: m.in_force("vectors", family), vector_schema(1), columns)
    return dict(zip(rows["image"].to_pylist(), rows["row_key"].to_pylist(), strict=True))


def read_labels(paths: StorePaths, family: str, fingerprint: str | None = None) -> tuple[list[str], Floats]:
    """Labels and their vectors [N, E] in the order they were written: the vocabulary's.

    fingerprint   of the settings they were made with; None = those in force

    Raises UserError where the store has none.
    """
    manifest = load_manifest(paths.require())
    wanted = manifest.current.get(family) if fingerprint is None else fingerprint
    parts = [part for part in manifest.of("labels", family) if part.fingerprint == wanted]
    if not parts:
        raise UserError(
            f"the store at {paths.root} has no label vectors of {family}; "
            "make them with `mipd-pipe embed-teacher`"
        )
    table = read_parts(paths, parts[-1:], label_schema(1), ["label", "vector"])
    return table["label"].to_pylist(), matrix(table["vector"].combine_chunks())


def matrix(column: pa.Array | pl.Series) -> Floats:
    """A column of equally long lists -> [N, E] float32."""
    array = column.to_arrow() if isinstance(column, pl.Series) else column
    width = array.type.list_size
    return np.asarray(array.flatten(), dtype=np.float32).reshape(-1, width)
