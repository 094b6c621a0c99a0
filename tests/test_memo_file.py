"""What one process saved is never lost to another, and what is damaged is never believed."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.memo_file import MemoFile

FORK = multiprocessing.get_context("fork")
SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False)], metadata={"names": "1"})


def memo(path: Path) -> MemoFile:
    return MemoFile(path, SCHEMA, "list of names", "every name is asked for again")


def names(table: pa.Table | None) -> list[str]:
    return [] if table is None else table["name"].to_pylist()


def add(path: Path, *new: str) -> None:
    memo(path).save(lambda table: pa.table([pa.array([*names(table), *new])], SCHEMA))


def test_rows_of_several_processes_all_stay(tmp_path: Path) -> None:
    path, start = tmp_path / "names.parquet", FORK.Barrier(4)

    def work(worker: int) -> None:
        start.wait()
        for i in range(10):
            add(path, f"{worker}-{i}")

    processes = [FORK.Process(target=work, args=(worker,)) for worker in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    table, reason = memo(path).load()
    assert reason is None
    assert sorted(names(table)) == sorted(f"{worker}-{i}" for worker in range(4) for i in range(10))


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    assert memo(tmp_path / "names.parquet").load() == (None, None)


@pytest.mark.parametrize("cut", [0, 10, -1])
def test_a_damaged_file_has_no_rows_and_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "names.parquet"
    add(path, "a")
    path.write_bytes(path.read_bytes()[:cut])
    table, reason = memo(path).load()
    assert table is None
    assert reason is not None
    assert reason.startswith(f"{path}: not a readable list of names (")
    assert reason.endswith("); every name is asked for again")
    add(path, "b")
    assert names(memo(path).load()[0]) == ["b"]


def test_a_file_of_another_version_has_no_rows_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "names.parquet"
    pq.write_table(pa.table([pa.array(["a"])], SCHEMA.with_metadata({"names": "2"})), path)
    assert memo(path).load() == (
        None,
        f"{path}: a list of names of another version; every name is asked for again",
    )
