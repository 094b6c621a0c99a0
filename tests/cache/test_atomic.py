"""A file is there whole or not at all, and a fault of the disk is named."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cache.atomic import TEMPORARY, disk_fault, replacing, system_fault, write_bytes
from cache.errors import MachineError

FORK = multiprocessing.get_context("fork")
SCRIPT = Path(__file__).with_name("disk_faults.py")
MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'
WRITERS = ("writer.lock", "manifest.json", "rationales", "banks", "vectors", "index")


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.json"
    with replacing(target) as temporary:
        temporary.write_bytes(b"part")
        assert not target.exists()
        assert TEMPORARY in temporary.name
    assert target.read_bytes() == b"part"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("reason", [ValueError, KeyboardInterrupt, OSError])
def test_an_exception_leaves_the_old_file(tmp_path: Path, reason: type[BaseException]) -> None:
    target = tmp_path / "file"
    write_bytes(target, b"old")

    def half() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"ne")
            raise reason("stop")

    with pytest.raises(reason, match="stop"):
        half()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_bytes(target, b"old")

    def half() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"ne")
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=half)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    (leftover,) = (path for path in tmp_path.iterdir() if TEMPORARY in path.name)
    assert leftover.name.startswith(f"file{TEMPORARY}")


def test_two_writers_of_one_file_do_not_share_a_temporary(tmp_path: Path) -> None:
    """In containers that share a disk, several processes may have the same number."""
    target = tmp_path / "file"
    with replacing(target) as one:
        one.write_bytes(b"one")
        with replacing(target) as other:
            other.write_bytes(b"other")
        assert one.read_bytes() == b"one"
    assert target.read_bytes() == b"one"


def test_a_full_disk_is_named_and_the_old_file_kept(tmp_path: Path) -> None:
    """/dev/full takes no byte, as a full disk does."""
    target = tmp_path / "file"
    write_bytes(target, b"old")

    def fill() -> None:
        with replacing(target) as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_bytes(b"new")

    message = (
        rf"^no space left to write {target} \(No space left on device; the disk has \d+ MiB free\); what was "
        "finished is kept: make room, then run the same command again$"
    )
    with pytest.raises(MachineError, match=message):
        fill()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, code: int) -> None:
    message = (
        rf"^{tmp_path} cannot be written \({os.strerror(code)}\); make it writable or choose another "
        "run_dir, then run the same command again$"
    )
    fault = disk_fault(OSError(code, os.strerror(code)), tmp_path / "file")
    with pytest.raises(MachineError, match=message):
        raise fault


def test_a_failing_disk_is_named(tmp_path: Path) -> None:
    fault = disk_fault(OSError(errno.EIO, os.strerror(errno.EIO)), tmp_path / "file")
    with pytest.raises(
        MachineError, match=r"the disk failed while writing .*file \(Input/output error\); what"
    ):
        raise fault


def test_a_full_disk_is_named_where_even_the_folder_is_missing(tmp_path: Path) -> None:
    fault = disk_fault(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "a" / "b" / "file")
    assert isinstance(fault, MachineError)


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    """A missing picture is no fault of the disk that is written."""
    reason = FileNotFoundError(errno.ENOENT, "No such file", "picture.jpg")
    assert disk_fault(reason, tmp_path / "file") is reason


def test_a_fault_in_words_becomes_one_with_a_number() -> None:
    full = system_fault(RuntimeError("mdb_txn_commit: No space left on device"))
    assert isinstance(full, OSError)
    assert full.errno == errno.ENOSPC
    other = RuntimeError("mdb_put: MDB_MAP_FULL: Environment mapsize limit reached")
    assert system_fault(other) is other


@pytest.fixture(scope="module")
def tiny_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of driving every writer of a store on a disk of 1 MiB, full and then read-only."""
    folder = tmp_path_factory.mktemp("tiny-disk")
    as_root = ["--map-root-user"] if os.getuid() else []
    prefix = ["unshare", "--mount", *as_root, "sh", "-c", MOUNT, "sh", str(folder)]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a disk of its own")
    command = [*prefix, sys.executable, str(SCRIPT), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_names_a_full_disk(tiny_disk: dict[str, Any], writer: str) -> None:
    message = tiny_disk["full"][writer]
    assert message.startswith("MachineError: no space left to write /")
    assert writer in message
    assert message.endswith("what was finished is kept: make room, then run the same command again")


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_names_a_read_only_disk(tiny_disk: dict[str, Any], writer: str) -> None:
    message = tiny_disk["read_only"][writer]
    assert message.startswith("MachineError: /")
    assert " cannot be written (Read-only file system); make it writable or choose another run_dir" in message


def test_a_full_disk_changes_no_file_and_loses_nothing(tiny_disk: dict[str, Any]) -> None:
    assert tiny_disk["unchanged"]
    assert tiny_disk["left"] == []
    assert tiny_disk["whole_again"], "with room again, the same call goes on"


def test_a_read_only_store_can_be_read(tiny_disk: dict[str, Any]) -> None:
    assert tiny_disk["faults"] == ["index/pictures-00001.faiss"], "the index that the script deleted"
