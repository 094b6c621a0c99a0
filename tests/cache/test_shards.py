"""Readers of one process share its open shards, and go on reading in another process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache.bank_reader import BankReader
from cache.manifest import load_manifest
from cache.paths import StorePaths
from tests.cache.small_store import VISION, bank_header, empty_store, noise, write_shard
from tests.cache.workers import read_rows


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    return empty_store(tmp_path)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_readers_that_were_in_use_read_in_another_process(store: StorePaths, method: str) -> None:
    """Training and its evaluation each have readers; the other process knows some of them."""
    rows = {f"{i}.jpg": noise(3, 8, seed=i) for i in range(40)}
    images = list(rows)
    write_shard(store, bank_header(), {image: rows[image] for image in images[:20]})
    write_shard(store, bank_header(), {image: rows[image] for image in images[20:]})
    readers = [BankReader(store, VISION) for _ in range(3)]
    payloads = [reader.payload(images[0]) for reader in readers]
    context = multiprocessing.get_context(method)
    mine, theirs = context.Pipe()
    process = context.Process(target=read_rows, args=(readers[:2], images, theirs))  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    opened, sums = mine.recv()
    process.join()
    assert opened == (1 if method == "fork" else 0), "a forked process goes on with what is open"
    assert process.exitcode == 0
    assert sums == [float(tokens.sum()) for tokens in rows.values()]
    assert [bytes(payload) for payload in payloads] == [rows[images[0]].tobytes()] * 3, (
        "untouched in this one"
    )
    assert np.array_equal(readers[2].read(images[30]).tokens, rows[images[30]])


def open_files(path: Path) -> int:
    """How often this process has a file open, counting maps of it."""
    maps = Path("/proc/self/maps").read_text().count(str(path))
    return maps + sum(os.path.realpath(link) == str(path) for link in Path("/proc/self/fd").iterdir())


def test_one_of_two_readers_may_close(store: StorePaths) -> None:
    """They share one descriptor, of which a process has only so many, and nothing is mapped."""
    write_shard(store, bank_header(), {"a.jpg": noise(3, 8)})
    shard = store.root / load_manifest(store).of("bank", VISION)[0].path
    one, other = BankReader(store, VISION), BankReader(store, VISION)
    assert open_files(shard) == 0, "until the first row is read"
    one.read("a.jpg")
    other.read("a.jpg")
    assert open_files(shard) == 1
    one.close()
    assert np.array_equal(other.read("a.jpg").tokens, noise(3, 8))
    other.close()
    assert open_files(shard) == 0
    assert np.array_equal(one.read("a.jpg").tokens, noise(3, 8))
    assert open_files(shard) == 1


def test_a_store_that_was_made_again_is_read_anew(tmp_path: Path) -> None:
    """Also where a reader of the deleted one was never closed."""
    for seed in ("old", "new"):
        store = empty_store(tmp_path / "store")
        write_shard(store, bank_header(), {"a.jpg": noise(3, 8, seed=seed)})
        reader = BankReader(store, VISION)
        assert np.array_equal(reader.read("a.jpg").tokens, noise(3, 8, seed=seed))
        shutil.rmtree(tmp_path / "store")
