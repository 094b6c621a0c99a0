"""Batches of rows: the same as the rows one by one, from any process and thread, and damage is named."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cache.read_threads
import cache.row_places
from cache.bank_reader import BankReader
from cache.codec import STORAGE_TYPES, StorageType, decode, encode
from cache.errors import UserError
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.read_threads import THREADS, read_all
from cache.stored_rows import StoredRows
from tests.cache.small_store import VISION, bank_header, empty_store, noise, write_shard

FORK = multiprocessing.get_context("fork")
LARGE = (64, 1024)  # of which a few are worth threads of their own


def decoded(rows: StoredRows, row: int) -> np.ndarray:
    """By the codec that every other reader uses."""
    raw = b"".join(array[row].tobytes() for array in (rows.values, rows.scales) if array is not None)
    return decode(raw, rows.values.shape[1:], rows.storage)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(STORAGE_TYPES),
    st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple),
    st.lists(st.integers(0, 11), max_size=20),
)
def test_every_storage_type_comes_back_as_the_codec_has_it(
    storage: StorageType, shape: tuple[int, ...], wanted: list[int]
) -> None:
    """Rows from two shards in any order, some twice; shorter than a page, a page, longer."""
    rows = {f"{i}.jpg": noise(*shape, seed=i) for i in range(12)}
    images, masked = list(rows), len(shape) == 3
    lengths = list(range(shape[0])) if masked else None
    with TemporaryDirectory() as folder:
        store = empty_store(Path(folder))
        for half in (images[:7], images[7:]):
            header = bank_header("b", storage, shape, masked)
            write_shard(store, header, {image: rows[image] for image in half}, lengths=lengths)
        reader = BankReader(store, "b")
        batch = reader.read_batch([images[i] for i in wanted])
        assert len(batch) == len(wanted)
        for row, i in enumerate(wanted):
            tokens = rows[images[i]]
            expected = decode(encode(tokens, storage), shape, storage)
            assert decoded(batch, row).tobytes() == expected.tobytes()
            assert batch.lengths is None or batch.lengths[row].tolist() == lengths
        assert (batch.lengths is not None) == masked
        assert (batch.scales is not None) == (storage == "int8")
        reader.close()


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """Forty rows of 256 KiB in three shards."""
    paths = empty_store(tmp_path)
    for some in (range(13), range(13, 26), range(26, 40)):
        write_shard(paths, bank_header(shape=LARGE), {f"{i}.jpg": noise(*LARGE, seed=i) for i in some})
    return paths


IMAGES = [f"{i * 7 % 40}.jpg" for i in range(40)]


def sums(reader: BankReader) -> list[float]:
    return [float(row.sum(dtype=np.float64)) for row in reader.read_batch(IMAGES).values]


@pytest.fixture
def expected(store: StorePaths) -> list[float]:
    reader = BankReader(store, VISION)
    with closing(reader):
        return [float(reader.read(image).tokens.sum(dtype=np.float64)) for image in IMAGES]


def discard(_: object) -> None:
    """For a call whose result is not wanted."""


def answer(readers: list[BankReader], pipe: Connection) -> None:
    pipe.send([sums(reader) for reader in readers])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_in_use_reads_in_another_process(
    store: StorePaths, expected: list[float], method: str
) -> None:
    """Its threads, open files and locks stay behind."""
    readers = [BankReader(store, VISION) for _ in range(2)]
    assert sums(readers[0]) == expected
    all_at_once = threading.Barrier(THREADS)
    read_all(range(THREADS), lambda _: discard(all_at_once.wait(60)), 1 << 30)
    context = multiprocessing.get_context(method)
    mine, theirs = context.Pipe()
    process = context.Process(target=answer, args=(readers, theirs))  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    assert mine.poll(60), "waits for a thread that it does not have"
    assert mine.recv() == [expected, expected]
    process.join()
    assert process.exitcode == 0
    assert sums(readers[0]) == expected


def test_one_reader_serves_several_threads(store: StorePaths, expected: list[float]) -> None:
    """Of which the first to need a shard opens it, and only that one."""
    shards = [str(store.root / part.path) for part in load_manifest(store).of("bank", VISION)]
    reader, interval = BankReader(store, VISION), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as threads:
            for _ in range(5):
                found = list(threads.map(lambda _: sums(reader), range(6)))
                assert found == [expected] * 6
                reader.close()
                links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
                assert not set(shards) & set(links), "opened more often than closed"
    finally:
        sys.setswitchinterval(interval)


def test_a_batch_is_read_in_the_order_in_which_it_lies_on_disk(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.read_threads, "THREADS", 1)
    read: list[tuple[int, int]] = []
    real = os.preadv

    def preadv(descriptor: int, into: list[memoryview], offset: int) -> int:
        read.append((descriptor, offset))
        return real(descriptor, into, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    BankReader(store, VISION).read_batch(IMAGES)
    assert len(read) == 40
    assert len(dict.fromkeys(descriptor for descriptor, _ in read)) == 3
    for shard in {descriptor for descriptor, _ in read}:
        offsets = [offset for descriptor, offset in read if descriptor == shard]
        assert offsets == sorted(offsets)
    assert [d for d, _ in read] == sorted((d for d, _ in read), key=[d for d, _ in read].index)


def test_a_read_that_brings_less_than_asked_for_goes_on(
    store: StorePaths, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network disks and signals may have it; here it ends within the values, and between two arrays."""
    write_shard(store, bank_header("t", "int8", (4, 50, 80), True), {"a": noise(4, 50, 80)}, lengths=[5] * 4)
    whole = bytes(BankReader(store, "t").payload("a"))
    real, sizes = os.preadv, [0]

    def preadv(descriptor: int, into: list[memoryview], offset: int) -> int:
        sizes.append(real(descriptor, [into[0][:7001]], offset))
        return sizes[-1]

    monkeypatch.setattr(os, "preadv", preadv)
    assert sums(BankReader(store, VISION)) == expected
    rows = BankReader(store, "t").read_batch(["a"])
    assert b"".join(array.tobytes() for array in rows.arrays) == whole
    assert max(sizes) == 7001


def without_preadv(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems that lack it."""
    monkeypatch.delattr(os, "preadv")


def with_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if LMDB laid its pages out in a way that is not known here."""
    monkeypatch.setattr(cache.row_places, "_VERSION", 2)


@pytest.mark.parametrize("machine", [without_preadv, with_another_layout])
def test_another_machine_reads_the_same(
    store: StorePaths,
    expected: list[float],
    monkeypatch: pytest.MonkeyPatch,
    machine: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """Slower, but every row, in several threads and in a forked process; and damage is still named."""
    machine(monkeypatch)
    reader = BankReader(store, VISION)
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda _: sums(reader), range(3))) == [expected] * 3
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=answer, args=([reader], theirs))
    process.start()
    assert mine.poll(60)
    assert mine.recv() == [expected]
    process.join()
    with pytest.raises(UserError, match="has no row for image 'x'"):
        reader.payload("x")
    reader.close()
    shard = store.root / load_manifest(store).of("bank", VISION)[1].path
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(UserError, match=f"^bank shard {shard} cannot be read"):
        sums(reader)


def test_none_leaves_a_row_of_zeros_without_lengths(tmp_path: Path) -> None:
    store = empty_store(tmp_path)
    write_shard(store, bank_header("t", "int8", (4, 5, 8), True), {"a": noise(4, 5, 8)}, lengths=[5, 4, 3, 2])
    reader = BankReader(store, "t")
    out = reader.room(2)
    for array in out.arrays:
        array.fill(1)
    rows = reader.read_batch([None, "a"], out)
    assert rows is out
    assert rows.lengths is not None
    assert rows.lengths.tolist() == [[0] * 4, [5, 4, 3, 2]]
    assert not decoded(rows, 0).any()
    assert np.array_equal(decoded(rows, 1), reader.read("a").tokens)


def test_a_missing_image_is_named(store: StorePaths) -> None:
    with pytest.raises(UserError, match=r"^bank 'student-vision' has no row for image 'x' \(it has 40 rows"):
        BankReader(store, VISION).read_batch(["1.jpg", "x"])


def test_a_shard_that_is_cut_off_while_it_is_read_is_named(store: StorePaths) -> None:
    """Not by the death of the process, as a mapped file would have it; and no part of a batch is given."""
    reader = BankReader(store, VISION)
    reader.read_batch(IMAGES)
    shard = store.root / load_manifest(store).of("bank", VISION)[1].path
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(UserError) as caught:
        reader.read_batch(IMAGES)
    assert str(caught.value).startswith(
        f"bank shard {shard} cannot be read (it ends within the row of image "
    )
    assert str(caught.value).endswith("); find the damage with `mipd-pipe inspect verify`")


def test_batches_in_use_are_not_written_over(store: StorePaths) -> None:
    """Memory is lent again only when nothing refers to a batch: not to it, and to no part of it."""
    reader = BankReader(store, VISION)
    kept = [reader.read_batch(IMAGES[:20]).values[3:5, 1:] for _ in range(2)]
    before = [part.copy() for part in kept]
    for _ in range(4):
        reader.read_batch(IMAGES[20:])
    assert all(np.array_equal(part, copy) for part, copy in zip(kept, before, strict=True))
