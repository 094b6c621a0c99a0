"""One writer at a time, or one worker a shard, and a dead one holds nothing."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import re
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from cache.errors import MachineError, UserError
from cache.lock import shard_lock, short_lock, writer_lock

FORK = multiprocessing.get_context("fork")


Shard = tuple[int, int] | None  # number and count; None = a writer that works alone


def lock(folder: Path, command: str, shard: Shard = None) -> AbstractContextManager[None]:
    return shard_lock(folder, command, *shard) if shard else writer_lock(folder, command)


def hold(folder: Path, with_child: bool, shard: Shard, ready: int) -> None:
    """Takes the lock, says so, and waits to be killed; its child waits for the pipe's other end to close."""
    with lock(folder, "embed-teacher", shard):
        if with_child and not os.fork():
            os.write(ready, b"c")
            signal.pause()
        os.write(ready, b"p")
        signal.pause()


@contextmanager
def holder(folder: Path, with_child: bool = False, shard: Shard = None) -> Iterator[BaseProcess]:
    """Another process that holds `folder`, killed at the end if it still lives."""
    read, write = os.pipe()
    process = FORK.Process(target=hold, args=(folder, with_child, shard, write))
    process.start()
    try:
        os.close(write)
        said = b""
        while len(said) < 1 + with_child:
            letters = os.read(read, 2)
            assert letters, "it was refused"
            said += letters
        yield process
    finally:
        process.kill()
        process.join()
        os.close(read)


def named(process: BaseProcess) -> str:
    return rf"`embed-teacher` \(process {process.pid} on {re.escape(socket.gethostname())}, since 20\S+\)"


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


ONLY_ONE = "only one writer is allowed, because two would remove each other's unfinished parts: wait for it"


def test_workers_of_different_shards_write_side_by_side(tmp_path: Path) -> None:
    with (
        holder(tmp_path, shard=(0, 3)),
        holder(tmp_path, shard=(2, 3)),
        shard_lock(tmp_path, "generate-rationales", 1, 3),
    ):
        pass


def test_a_shard_has_one_worker(tmp_path: Path) -> None:
    with holder(tmp_path, shard=(2, 3)) as process:
        message = (
            rf"^shard 2/3 of {tmp_path} is being written by {named(process)}; a shard has one worker: wait "
            "for it to end, stop it, or start another shard$"
        )
        with pytest.raises(UserError, match=message), shard_lock(tmp_path, "generate-rationales", 2, 3):
            pass


def test_shards_of_another_number_are_refused_by_name(tmp_path: Path) -> None:
    """Shard 1 of 4 has pictures of shard 2 of 3."""
    with holder(tmp_path, shard=(2, 3)) as process:
        message = (
            rf"^{tmp_path} is being written by {named(process)} as shard 2/3; shard 1/4 would overlap with "
            "it: wait for all of 3 shards to end, or start this one as one of 3$"
        )
        with pytest.raises(UserError, match=message), shard_lock(tmp_path, "generate-rationales", 1, 4):
            pass


def test_a_writer_that_works_alone_is_refused_beside_workers(tmp_path: Path) -> None:
    with writer_lock(tmp_path, "train-student"):
        pass  # its name stays in the file, and must not be told
    with holder(tmp_path, shard=(1, 3)) as process:
        message = rf"^{tmp_path} is being written by {named(process)} as shard 1/3; {ONLY_ONE}"
        with pytest.raises(UserError, match=message), writer_lock(tmp_path, "embed-teacher"):
            pass
        with holder(tmp_path, shard=(0, 3)) as other:
            message = rf"by {named(other)} as shard 0/3 and by 1 more of the 3 shards; {ONLY_ONE}"
            with pytest.raises(UserError, match=message), writer_lock(tmp_path, "embed-teacher"):
                pass


def test_a_worker_is_refused_beside_a_writer_that_works_alone(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        message = rf"^{tmp_path} is being written by {named(process)}; {ONLY_ONE}"
        with pytest.raises(UserError, match=message), shard_lock(tmp_path, "generate-rationales", 1, 3):
            pass
    with shard_lock(tmp_path, "generate-rationales", 1, 3):
        pass


@pytest.mark.parametrize("then", [None, (1, 3), (0, 2)])
@pytest.mark.parametrize("with_child", [False, True])
def test_a_killed_worker_holds_nothing(tmp_path: Path, then: Shard, with_child: bool) -> None:
    with holder(tmp_path, with_child, shard=(1, 3)) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        try:
            process.kill()
            process.join()
            with lock(tmp_path, "embed-teacher", then):
                pass
        finally:
            for child in children:
                os.kill(int(child), signal.SIGKILL)


def test_a_worker_that_ends_or_fails_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), shard_lock(tmp_path, "generate-rationales", 0, 2):
        raise KeyboardInterrupt
    with (
        shard_lock(tmp_path, "generate-rationales", 0, 2),
        pytest.raises(UserError),
        shard_lock(tmp_path, "generate-rationales", 0, 4),  # refused, it may leave nothing behind
    ):
        pass
    with writer_lock(tmp_path, "embed-teacher"):
        pass
    with shard_lock(tmp_path, "generate-rationales", 0, 4):
        pass


def join(folder: Path, start: Barrier, shard: int, counts: Sequence[int], answer: Connection) -> None:
    """Tries to take a shard of one count after another, and holds the first it gets until all have tried."""
    start.wait()
    taken = 0
    with ExitStack() as held:
        for count in counts:
            with suppress(UserError):
                held.enter_context(shard_lock(folder, "generate-rationales", shard, count))
                taken = count
                break
        start.wait()
    answer.send((shard, taken))


@pytest.mark.parametrize("attempt", range(5))
def test_workers_that_start_at_once_agree_on_one_count(tmp_path: Path, attempt: int) -> None:
    """Two for each of three shards; one tries to be of 3 first, and one of 4."""
    start, (reader, writer) = FORK.Barrier(6), FORK.Pipe(duplex=False)
    processes = [
        FORK.Process(target=join, args=(tmp_path, start, shard, counts, writer))
        for shard in range(3)
        for counts in ((3, 4), (4, 3))
    ]
    for process in processes:
        process.start()
    answers = [reader.recv() for _ in processes]
    for process in processes:
        process.join()
    assert sorted(shard for shard, taken in answers if taken) == [0, 1, 2], "each shard once"
    assert len({taken for _, taken in answers if taken}) == 1


def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    counter, start = tmp_path / "counter", FORK.Barrier(4)
    counter.write_text("0")

    def count() -> None:
        start.wait()
        for _ in range(25):
            with short_lock(tmp_path / "counter.lock"):
                counter.write_text(str(int(counter.read_text()) + 1))

    processes = [FORK.Process(target=count) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counter.read_text() == "100"
