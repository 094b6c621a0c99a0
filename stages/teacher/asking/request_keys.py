"""Remembers the request key of each picture, so that a resume need not work out what it would ask.

A request key needs the picture's contrast and its whole prompt. A fingerprint of what decides them takes a
fiftieth of the time, and says whether the remembered key still holds.
"""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from cache.keys import DIGEST_BYTES, fingerprint
from stages.data.sample import Sample
from stages.memo_file import MemoFile

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("inputs", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("request_key", pa.binary(DIGEST_BYTES), nullable=False),
    ],
    metadata={"request_keys": "1"},
)
# Left out: the split, because only training pictures are asked about, and captions (see `task_inputs`).
_annotation = attrgetter("image", "verb", "width", "height", "roles", "nouns", "boxes")


def task_inputs(common: str, sample: Sample, digest: str, extra: Any) -> str:
    """128-bit hex of everything that decides a picture's request key.

    common   fingerprint of what decides all keys alike: prompt, models, contrasts (`identity`), vocabulary
    digest   of the picture file's bytes
    extra    any JSON value that decides it besides; captions, where they are what is imported
    """
    return fingerprint([common, digest, extra, _annotation(sample)])


class RequestKeys:
    """Image -> request key, as long as the inputs that it was made from are the same.

    A file that cannot be read is made again, and `rebuilt` says why. Several processes may fill one file.
    """

    def __init__(self, path: Path) -> None:
        self._file = MemoFile(path, SCHEMA, "list of request keys", "every key is worked out again")
        table, self.rebuilt = self._file.load()
        self._known = _rows(table)  # inputs and key in one: half the memory of a pair
        self._new: dict[str, bytes] = {}

    def find(self, image: str, inputs: str) -> str | None:
        """The picture's request key; None where it is not known or was made from other inputs."""
        row = self._known.get(image)
        if row is None or row[:DIGEST_BYTES] != bytes.fromhex(inputs):
            return None
        return row[DIGEST_BYTES:].hex()

    def remember(self, image: str, inputs: str, key: str) -> None:
        """`inputs` and `key` are fingerprints: 128-bit hex."""
        row = bytes.fromhex(inputs + key)
        assert len(row) == 2 * DIGEST_BYTES
        self._known[image] = self._new[image] = row

    def save(self) -> None:
        """Adds what is new to what other processes saved. Raises MachineError where the disk is full."""
        if self._new:
            self._file.save(lambda table: _table({**_rows(table), **self._new}))
            self._new = {}


def _rows(table: pa.Table | None) -> dict[str, bytes]:
    if table is None:
        return {}
    images, inputs, keys = (column.to_pylist() for column in table.columns)
    return {image: given + key for image, given, key in zip(images, inputs, keys, strict=True)}


def _table(rows: dict[str, bytes]) -> pa.Table:
    images = sorted(rows)
    columns = (
        images,
        [rows[image][:DIGEST_BYTES] for image in images],
        [rows[image][DIGEST_BYTES:] for image in images],
    )
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, SCHEMA)
