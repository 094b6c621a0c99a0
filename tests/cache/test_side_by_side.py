"""Workers that write one store side by side leave one whole store."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from cache.lock import shard_lock, writer_lock
from cache.manifest import load_manifest, remove_leftovers
from cache.paths import StorePaths
from cache.rationales import (
    QuarantineRow,
    append_quarantine,
    append_rationales,
    copy_version,
    read_quarantine,
    read_rationales,
)
from cache.verify import verify
from tests.cache.small_store import PRODUCER, empty_store, four

FORK = multiprocessing.get_context("fork")
WORKERS, PARTS = 3, 12


def images(worker: int) -> list[str]:
    return [f"{worker}-{i}.jpg" for i in range(PARTS)]


def write(paths: StorePaths, worker: int) -> None:
    """What a worker does with a store: cleans up after itself, then adds parts."""
    tag = f"{worker}of{WORKERS}"
    with shard_lock(paths.root, "generate-rationales", worker, WORKERS):
        for image in images(worker):
            remove_leftovers(paths, tag)
            append_rationales(paths, four(image), PRODUCER, tag)
            append_quarantine(paths, [QuarantineRow(f"bad-{image}", "data", "x", 0, "", "k")], PRODUCER, tag)


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """Filled by all workers at once."""
    paths, start = empty_store(tmp_path), FORK.Barrier(WORKERS)

    def work(worker: int) -> None:
        start.wait()
        write(paths, worker)

    processes = [FORK.Process(target=work, args=(worker,)) for worker in range(WORKERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * WORKERS
    return paths


def test_the_store_of_several_workers_is_whole(store: StorePaths) -> None:
    assert verify(store) == []
    assert remove_leftovers(store) == []
    written = {image for worker in range(WORKERS) for image in images(worker)}
    rows = read_rationales(store).filter("usable")
    assert sorted(rows["image"]) == sorted(4 * list(written))
    assert set(read_quarantine(store)["image"]) == {f"bad-{image}" for image in written}
    paths = [part.path for part in load_manifest(store).parts]
    assert len(paths) == len(set(paths)) == 2 * WORKERS * PARTS
    assert f"rationales/part-1of{WORKERS}-{PARTS - 1:05d}.parquet" in paths


def test_one_writer_goes_on_where_workers_ended(store: StorePaths) -> None:
    with writer_lock(store.root, "generate-rationales"):
        append_rationales(store, four("0-0.jpg", "new"), PRODUCER)
        copy_version(store, {"0-0.jpg": "key"}, PRODUCER, f"0of{WORKERS}")
    parts = [part.path for part in load_manifest(store).of("rationales")][-2:]
    assert parts == ["rationales/part-00000.parquet", f"rationales/part-0of{WORKERS}-{PARTS:05d}.parquet"]
    rows = read_rationales(store).filter("usable")
    assert rows["request_key"].to_list() == ["key"] * rows.height
    assert verify(store) == []
