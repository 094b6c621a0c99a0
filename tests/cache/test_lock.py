"""One writer at a time, and a dead one holds nothing."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cache.errors import MachineError, UserError
from cache.lock import writer_lock

FORK = multiprocessing.get_context("fork")


def hold(folder: Path, with_child: bool, ready: int) -> None:
    """Takes the lock, says so, and waits to be killed; its child waits for the pipe's other end to close."""
    with writer_lock(folder, "embed-teacher"):
        if with_child and not os.fork():
            os.write(ready, b"c")
            signal.pause()
        os.write(ready, b"p")
        signal.pause()


@contextmanager
def holder(folder: Path, with_child: bool = False) -> Iterator[BaseProcess]:
    """Another process that holds `folder`, killed at the end if it still lives."""
    read, write = os.pipe()
    process = FORK.Process(target=hold, args=(folder, with_child, write))
    process.start()
    try:
        said = b""
        while len(said) < 1 + with_child:
            said += os.read(read, 2)
        yield process
    finally:
        process.kill()
        process.join()
        os.close(read)
        os.close(write)


def test_a_second_writer_is_refused_by_name_of_the_holder(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        message = (
            rf"^{tmp_path} is being written by `embed-teacher` \(process {process.pid} on "
            rf"{re.escape(socket.gethostname())}, since 20\S+\); only one writer is allowed, because two "
            "would remove each other's unfinished parts: wait for it to end, or stop it$"
        )
        with pytest.raises(UserError, match=message), writer_lock(tmp_path, "generate-rationales"):
            pass


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with writer_lock(tmp_path, "embed-teacher"):
            pass


def test_a_killed_holder_frees_the_lock_though_its_child_lives(tmp_path: Path) -> None:
    """A forked worker shares its parent's open files, and with them the lock."""
    with holder(tmp_path, with_child=True) as process:
        assert process.pid
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        try:
            process.kill()
            process.join()
            with writer_lock(tmp_path, "embed-teacher"):
                os.kill(child, 0)  # it lives
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_child_of_a_holder_does_not_free_the_lock(tmp_path: Path) -> None:
    with writer_lock(tmp_path, "embed-teacher"):
        child = FORK.Process(target=int)
        child.start()
        child.join()
        with pytest.raises(UserError, match="is being written by"), writer_lock(tmp_path, "other"):
            pass


def test_the_lock_is_free_after_its_block_and_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writer_lock(tmp_path / "store", "embed-teacher"):
        raise KeyboardInterrupt
    for _ in range(2):
        with writer_lock(tmp_path / "store", "embed-teacher"):
            pass


def test_a_holder_without_a_name_is_still_refused(tmp_path: Path) -> None:
    """Between taking the lock and writing its name."""
    with (tmp_path / "writer.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(UserError, match="by another process that has not written its name yet; only one"),
            writer_lock(tmp_path, "embed-teacher"),
        ):
            pass


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = (
        rf"^{tmp_path}/writer.lock cannot be locked \(Operation not supported\), so a second writer could "
        "not be kept out: mount the disk with flock, or choose a run_dir on a local disk$"
    )
    with pytest.raises(MachineError, match=message), writer_lock(tmp_path, "embed-teacher"):
        pass
