"""A shard's file as LMDB opens it."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

import pytest

from cache.lmdb_file import map_size, reading, writing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with writing(tmp_path / "x.lmdb", 2, 10) as (env, rows, keys), env.begin(write=True) as transaction:
        for image in (b"b", b"a"):
            transaction.put(image, image * 10, db=rows)
            transaction.put(image, image * 16, db=keys)
    return tmp_path / "x.lmdb"


def test_what_was_written_is_read(file: Path) -> None:
    with reading(file) as opened:
        assert list(opened.row_keys()) == [("a", "61" * 16), ("b", "62" * 16)]
        payload = opened.payload(b"b")
        assert payload is not None
        assert bytes(payload) == b"b" * 10
        assert opened.payload(b"c") is None
    assert str(file) not in Path("/proc/self/maps").read_text()


def test_threads_take_turns(file: Path) -> None:
    """LMDB refuses to open a file twice in one process."""
    entered, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with reading(file):
            entered.set()
            may_end.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(60)
    found: list[int] = []
    other = threading.Thread(target=lambda: found.append(count(file)))
    other.start()
    may_end.set()
    other.join()
    holder.join()
    assert found == [2]


def count(file: Path) -> int:
    with reading(file) as opened:
        return len(list(opened.row_keys()))


def test_a_process_forked_while_a_thread_reads_may_read_too(file: Path) -> None:
    with reading(file):
        child = os.fork()
        if not child:
            try:
                os._exit(count(file))
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        assert file.exists()
    assert count(file) == 2


def test_room_is_counted_in_the_systems_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 KiB on some: each payload fills whole ones."""
    assert map_size(100, 5000) >= 100 * 2 * 4096
    monkeypatch.setattr(mmap, "PAGESIZE", 1 << 16)
    assert map_size(100, 5000) >= 100 * (1 << 16)
    assert map_size(100, 70_000) >= 200 * (1 << 16)
