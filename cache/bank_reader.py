"""Banks: one kind of embedding for every sample, in LMDB shards.

A shard is a single LMDB file with two tables: ``rows`` (image id -> payload) and ``keys`` (image id -> the
16-byte key of everything that decided the payload). It is written whole and never changed, so readers need
no locks and may be opened in any process. A payload is the encoded tokens (see `cache.codec`) and, in a
masked bank, one little-endian int32 length per sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from cache.bank_header import BankHeader, header_in_force
from cache.codec import decode
from cache.errors import UserError
from cache.lmdb_file import reading
from cache.manifest import Manifest, Part, load_manifest
from cache.paths import StorePaths
from cache.read_threads import read_all
from cache.replaced_parts import WAIT, read_anew
from cache.row_places import Place
from cache.shards import Shard, acquire, opening, release
from cache.stored_rows import LENGTH_TYPE, StoredRows


@dataclass(frozen=True, slots=True)
class BankRow:
    """One row: tokens float32 in the bank's shape, and lengths [first axis] where the bank is masked."""

    tokens: NDArray[np.float32]
    lengths: NDArray[np.int32] | None


@dataclass(frozen=True, slots=True)
class _RowRead:
    """One row of a batch: where its bytes lie, and which row of the batch they become."""

    number: int
    shard: Shard
    place: Place
    row: int
    image: str


class BankReader:
    """Read-only view of a bank's rows in force; a later shard's row replaces an earlier one's.

    Shards are opened at the first read, in the process that reads them: a reader may be handed to worker
    processes, forked or spawned.
    """

    def __init__(self, paths: StorePaths, name: str) -> None:
        """Reads the header and all keys. Raises UserError where the bank is missing or a shard is damaged.

        `row_keys` maps each image to the hex key of what decided its row.
        """
        self._paths, self._name = paths.require(), name
        self._open: dict[int, Shard] = {}
        read_anew(paths, lambda manifest: self._find_parts(manifest), self._read_all_keys)

    def _find_parts(self, manifest: Manifest) -> tuple[BankHeader, list[Part]]:
        return header_in_force(self._paths, manifest, self._name), manifest.in_force("bank", self._name)

    def _read_all_keys(self, found: tuple[BankHeader, list[Part]]) -> None:
        self.header, self._parts = found
        self._shard_of: dict[str, int] = {}
        self.row_keys: dict[str, str] = {}
        for number in range(len(self._parts)):
            self._read_keys(number)

    def __len__(self) -> int:
        return len(self._shard_of)

    def __contains__(self, image: object) -> bool:
        return image in self._shard_of

    @property
    def images(self) -> list[str]:
        return list(self._shard_of)

    def read(self, image: str) -> BankRow:
        """One row, decoded to float32. Raises UserError where the bank has no such image."""
        header = self.header
        payload = self.payload(image)
        tokens = decode(payload, header.shape, header.storage)
        lengths = None
        if header.masked:
            lengths = np.frombuffer(payload, LENGTH_TYPE, offset=header.token_bytes).astype(np.int32)
        return BankRow(tokens, lengths)

    def payload(self, image: str) -> memoryview:
        """The stored bytes of a row. Raises UserError as `read` does."""
        row = memoryview(bytearray(self.header.row_bytes))
        self._fill(self._find(image, 0), [row])
        return row.toreadonly()

    def require_row(self, image: str) -> None:
        """Raises UserError where the bank has no such row, or one of another size; reads nothing of it."""
        self._find(image, 0)

    def read_batch(
        self,
        images: Sequence[str | None],
        out: StoredRows | None = None,
        at: Sequence[int] | None = None,
    ) -> StoredRows:
        """Rows in the order of `images` as they are stored, each read straight into its place.

        images   None leaves a row of zeros of which no token counts
        out      of `room(len(images))`, to be filled and returned; default: a new one
        at       the row of `out` that each image fills, where they are not all of its rows in order

        Reads in the order in which the rows lie on disk, in several threads. May itself be called in several
        threads. Raises UserError as `read` does, naming the shard where one is damaged.
        """
        rows = self.room(len(images)) if out is None else out
        places = range(len(rows)) if at is None else at
        assert len(places) == len(images), (len(places), len(images))
        assert rows.values.shape[1:] == self.header.shape
        reads = []
        for row, image in zip(places, images, strict=True):
            if image is None:
                rows.clear(row)
            else:
                reads.append(self._find(image, row))
        reads.sort(key=lambda read: (read.number, read.place.offset))
        size = len(reads) * self.header.row_bytes
        read_all(reads, lambda read: self._fill(read, rows.parts(read.row)), size)
        return rows

    def room(self, count: int) -> StoredRows:
        """Room for so many rows of this bank, to be filled by `read_batch`."""
        header = self.header
        return StoredRows.empty(header.storage, header.shape, header.masked, count)

    def _find(self, image: str, row: int) -> _RowRead:
        number = self._number(image)
        with self._damage(number):
            shard = self._shard(number)
            place = shard.find(image.encode())
            found, expected = place.size if place else 0, self.header.row_bytes
            if place is None or found != expected:
                raise ValueError(f"the row of image {image!r} has {found} bytes, the header says {expected}")
            if place.offset + found > self._parts[number].bytes:
                raise ValueError(f"it ends within the row of image {image!r}")
        return _RowRead(number, shard, place, row, image)

    def _fill(self, read: _RowRead, into: list[memoryview]) -> None:
        with self._damage(read.number):
            read.shard.read(read.image.encode(), read.place, into)

    def _number(self, image: str) -> int:
        if image not in self._shard_of:
            raise UserError(
                f"bank {self.header.name!r} has no row for image {image!r} (it has {len(self)} rows); "
                "run `mipd-pipe embed-teacher` again with this data set"
            )
        return self._shard_of[image]

    def close(self) -> None:
        """Closes the shards; the next read opens them again. Not while another thread reads."""
        for shard in self._open.values():
            release(shard)
        self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a spawned worker: everything but the open files."""
        return {**self.__dict__, "_open": {}}

    def _shard(self, number: int) -> Shard:
        shard = self._open.get(number)
        if shard is not None:
            return shard
        with opening():
            if number not in self._open:
                self._open[number] = acquire(self._whole(number))
            return self._open[number]

    def _whole(self, number: int) -> Path:
        """The file of a shard, which LMDB maps: a read behind its end would kill the process (SIGBUS)."""
        path, expected = self._path(number), self._parts[number].bytes
        if (found := path.stat().st_size) != expected:
            raise ValueError(f"it has {found} bytes, the manifest says {expected}")
        return path

    def _path(self, number: int) -> Path:
        return self._paths.root / self._parts[number].path

    def _read_keys(self, number: int) -> None:
        with self._damage(number):
            with reading(self._whole(number)) as opened:
                found = dict(opened.row_keys())
            if len(found) != self._parts[number].rows:
                raise ValueError(f"it has {len(found)} rows, the manifest says {self._parts[number].rows}")
        self.row_keys |= found
        self._shard_of |= dict.fromkeys(found, number)

    @contextmanager
    def _damage(self, number: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, lmdb.Error) as reason:
            raise self._named(number, reason) from None

    def _named(self, number: int, reason: Exception) -> UserError:
        path = self._path(number)
        if isinstance(reason, FileNotFoundError) and not self._is_listed(number):
            return UserError(
                f"bank shard {path} was replaced or removed since this command began to read the bank "
                f"{self._name!r}: {WAIT}"
            )
        return UserError(
            f"bank shard {path} cannot be read ({reason}); find the damage with `mipd-pipe inspect verify`"
        )

    def _is_listed(self, number: int) -> bool:
        listed = load_manifest(self._paths).of("bank", self._name)
        return any(part.path == self._parts[number].path for part in listed)
