"""Readers of one process share its open shards, and those of another process open their own."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache.banks import BankReader
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
    assert opened == 0, "what the parent had open is not used"
    assert process.exitcode == 0
    assert sums == [float(tokens.sum()) for tokens in rows.values()]
    assert [bytes(payload) for payload in payloads] == [rows[images[0]].tobytes()] * 3, (
        "untouched in this one"
    )
    assert np.array_equal(readers[2].read(images[30]).tokens, rows[images[30]])


def test_one_of_two_readers_may_close(store: StorePaths) -> None:
    """LMDB itself opens a file only once in a process."""
    write_shard(store, bank_header(), {"a.jpg": noise(3, 8)})
    one, other = BankReader(store, VISION), BankReader(store, VISION)
    one.read("a.jpg")
    payload = other.payload("a.jpg")
    one.close()
    assert bytes(payload) == noise(3, 8).tobytes()
    other.close()
    shard = str(store.root / load_manifest(store).of("bank", VISION)[0].path)
    assert shard not in Path("/proc/self/maps").read_text()
    assert np.array_equal(one.read("a.jpg").tokens, noise(3, 8))
    assert shard in Path("/proc/self/maps").read_text()


def test_a_store_that_was_made_again_is_read_anew(tmp_path: Path) -> None:
    """Also where a reader of the deleted one was never closed."""
    for seed in ("old", "new"):
        store = empty_store(tmp_path / "store")
        write_shard(store, bank_header(), {"a.jpg": noise(3, 8, seed=seed)})
        reader = BankReader(store, VISION)
        assert np.array_equal(reader.read("a.jpg").tokens, noise(3, 8, seed=seed))
        shutil.rmtree(tmp_path / "store")
