"""The tree of pages is followed as LMDB itself follows it, and a damaged one is told."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.row_places import RowPlaces, UnknownLayoutError


def write(path: Path, tables: dict[bytes, dict[bytes, bytes]], goes: int = 1) -> None:
    """Each table in several transactions."""
    with lmdb.open(str(path), subdir=False, lock=False, max_dbs=4, map_size=64 << 20) as env:
        for name, rows in tables.items():
            db = env.open_db(name)
            items = list(rows.items())
            for go in range(goes):
                with env.begin(write=True, db=db) as transaction:
                    for key, value in items[go::goes]:
                        transaction.put(key, value)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


KEYS = st.binary(min_size=1, max_size=511)
ROWS = st.dictionaries(KEYS, st.integers(0, 9000), max_size=60)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(KEYS, max_size=10), st.integers(1, 3))
def test_every_row_is_found_where_it_lies(sizes: dict[bytes, int], others: list[bytes], goes: int) -> None:
    """Within a page, at its edge, and on pages of its own; and what is not there is not found."""
    rows = {key: random.Random(key).randbytes(size) for key, size in sizes.items()}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.lmdb"
        write(path, {b"keys": dict.fromkeys(rows, b"k" * 16), b"rows": rows}, goes)
        with opened(path) as descriptor:
            places = RowPlaces(descriptor)
            for key, value in rows.items():
                place = places.find(key)
                assert place is not None
                assert place.size == len(value)
                assert os.pread(descriptor, place.size, place.offset) == value
            assert all(places.find(key) is None for key in others if key not in rows)


def test_a_tree_of_many_levels(tmp_path: Path) -> None:
    rows = {f"{i:06d}".encode() + b"x" * 400: str(i).encode() for i in range(20_000)}
    write(tmp_path / "x.lmdb", {b"rows": rows})
    with opened(tmp_path / "x.lmdb") as descriptor:
        places = RowPlaces(descriptor)
        for key, value in rows.items():
            place = places.find(key)
            assert place is not None
            assert os.pread(descriptor, place.size, place.offset) == value


def test_finding_a_row_reads_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What LMDB's binding does instead costs thirty times the disk's own time."""
    rows = {f"{i}".encode(): bytes(1 << 20) for i in range(30)}
    write(tmp_path / "x.lmdb", {b"rows": rows})
    read: list[int] = []
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        read.append(size)
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    with opened(tmp_path / "x.lmdb") as descriptor:
        places = RowPlaces(descriptor)
        assert all(places.find(key) for key in rows)
    assert sum(read) < 10 * 4096


@pytest.mark.parametrize("offset", [16, 20])
def test_another_layout_is_told_apart(tmp_path: Path, offset: int) -> None:
    """By LMDB's magic number, which lies elsewhere on 32 bits and is turned round on big-endian machines."""
    path = tmp_path / "x.lmdb"
    write(path, {b"rows": {b"a": b"b"}})
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 3
    path.write_bytes(raw)
    with opened(path) as descriptor, pytest.raises(UnknownLayoutError, match=r"data version \d, not 1"):
        RowPlaces(descriptor)


def test_a_table_that_is_missing_is_told(tmp_path: Path) -> None:
    write(tmp_path / "x.lmdb", {b"keys": {b"a": b"b"}})
    with opened(tmp_path / "x.lmdb") as descriptor, pytest.raises(ValueError, match="no table 'rows'"):
        RowPlaces(descriptor)


def test_any_flipped_bit_of_the_tree_is_told_or_harmless(tmp_path: Path) -> None:
    """Never another exception, an endless walk, or a crash; what is found may be wrong."""
    path = tmp_path / "x.lmdb"
    rows = {f"{i:03d}".encode(): bytes(5000 if i % 2 else 30) for i in range(200)}
    write(path, {b"rows": rows})
    draw = random.Random(0)
    with opened(path) as descriptor:
        tree = RowPlaces(descriptor)
        assert all(map(tree.find, rows))
    pages = [0, 1, *tree._pages]
    told = 0
    for _ in range(400):
        with flipped(path, draw.choice(pages) * 4096 + draw.randrange(4096), 1 << draw.randrange(8)):
            told += is_told(path, rows)
    assert told, "flips within what the walk depends on"


@contextmanager
def flipped(path: Path, offset: int, bits: int) -> Iterator[None]:
    with path.open("r+b", buffering=0) as file:
        before = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([before[0] ^ bits]), offset)
        yield
        os.pwrite(file.fileno(), before, offset)


def is_told(path: Path, rows: Iterable[bytes]) -> bool:
    with opened(path) as descriptor:
        try:
            places = RowPlaces(descriptor)
            for key in rows:
                places.find(key)
        except ValueError:
            return True
    return False
