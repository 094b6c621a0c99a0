from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.teacher.engines.process_memory import family, private_gib

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
MIB = 1 << 20
# A child that holds 64 MiB of its own below a parent that holds little.
CHILD = f"held = bytearray(b'x') * (64 * {MIB}); print('ready', flush=True); input()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.fixture
def parent() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        assert process.stdin
        process.stdin.write("\n")


def test_memory_below_a_process_is_counted_with_it(parent: int) -> None:
    members = family(parent)
    assert members[0] == parent
    assert len(members) == 2
    assert private_gib(members) > 64 / 1024
    assert private_gib([parent]) < 32 / 1024


def test_pages_of_files_are_left_out(tmp_path: Path) -> None:
    import mmap

    path = tmp_path / "weights"
    path.write_bytes(os.urandom(64 * MIB))
    before = private_gib([os.getpid()])
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) > 0
        assert private_gib([os.getpid()]) - before < 32 / 1024


def test_a_process_that_has_ended_counts_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert family(process.pid) == []
    assert private_gib([process.pid]) == 0
