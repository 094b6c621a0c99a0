"""Who may write a folder, held by the operating system so that a killed writer holds nothing.

Either one writer, or the workers of one job array, each with its own shard. `writer.lock` is held by the
writer alone or shared by the workers; a worker also holds the file of its shard.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cache.atomic import disk_fault
from cache.errors import MachineError, UserError

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_SHARD = re.compile("shard-([0-9]+)-of-([0-9]+)[.]lock")
_held: set[int] = set()  # descriptors of this process's locks


@contextmanager
def writer_lock(folder: Path, command: str) -> Iterator[None]:
    """Holds `folder` for writing; a second writer is refused with the name of the holder (UserError).

    The lock is `flock` on a file: the kernel releases it when the holder ends in whatever way, so there
    is no stale lock to clean up. The file's text only names the holder. Raises MachineError where the
    disk cannot be written or knows no locks.
    """
    path = folder / "writer.lock"
    with _holding(path, fcntl.LOCK_EX | fcntl.LOCK_NB, lambda: _only_one(folder, _writers(folder))) as file:
        _write_name(file, path, command)
        yield


@contextmanager
def shard_lock(
    folder: Path, command: str, shard: int, shards: int, terms: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Holds one of `shards` parts of the work in `folder`; the other parts may be held side by side.

    terms   what all that work side by side must have in common, by name

    Refused by name (UserError): beside a writer that works alone, a shard that is held already, a shard of
    another number of shards, which would overlap, and one with other terms than a held one. Otherwise as
    `writer_lock`.
    """
    assert 0 <= shard < shards
    path, writer = _shard_file(folder, shard, shards), folder / "writer.lock"
    # A refused worker lets go of its shard while it still holds off the others, who would see it as held.
    with _probing(folder), ExitStack() as taking:
        file = taking.enter_context(
            _holding(path, fcntl.LOCK_EX | fcntl.LOCK_NB, lambda: _taken(folder, shard, shards))
        )
        # Released before the shard, so that whoever is refused because of it finds the shard still held.
        taking.enter_context(
            _holding(writer, fcntl.LOCK_SH | fcntl.LOCK_NB, lambda: _only_one(folder, _holder(writer)))
        )
        _refuse_other_counts(folder, shard, shards)
        _refuse_other_terms(folder, path, terms or {})
        _write_name(file, path, command, terms)
        held = taking.pop_all()
    with held:
        yield


@contextmanager
def short_lock(path: Path) -> Iterator[None]:
    """Waits for the lock of `path` and holds it: for steps of a second at most, done by one at a time.

    Raises MachineError as `writer_lock` does.
    """
    with _holding(path, fcntl.LOCK_EX, lambda: f"{path} is held"):
        yield


@contextmanager
def _holding(path: Path, operation: int, refusal: Callable[[], str]) -> Iterator[int]:
    """The descriptor of a lock's file while it is held. Raises UserError with `refusal` where it is taken."""
    descriptor = open_lock_file(path)
    _held.add(descriptor)
    try:
        if not try_lock(descriptor, path, operation):
            raise UserError(refusal())
        yield descriptor
    finally:
        if descriptor in _held:  # not so in a forked child, which has let go of it already
            _held.remove(descriptor)
            os.close(descriptor)


def _probing(folder: Path) -> AbstractContextManager[None]:
    """Held to take a shard, and to look who has one: looking takes the lock for a moment."""
    return short_lock(folder / "shards.lock")


def _held_shards(folder: Path) -> list[tuple[int, int]]:
    """Number and count of each shard that a living worker holds; call it while `_probing`."""
    found = [(path, _SHARD.fullmatch(path.name)) for path in sorted(folder.glob("shard-*.lock"))]
    shards = [(path, int(match[1]), int(match[2])) for path, match in found if match]
    return [(shard, count) for path, shard, count in shards if _is_held(path)]


def _is_held(path: Path) -> bool:
    descriptor = open_lock_file(path)
    try:
        return not try_lock(descriptor, path, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _refuse_other_counts(folder: Path, shard: int, shards: int) -> None:
    for other, count in _held_shards(folder):
        if count != shards:
            raise UserError(
                f"{folder} is being written by {_holder(_shard_file(folder, other, count))} as shard "
                f"{other}/{count}; shard {shard}/{shards} would overlap with it: wait for all of "
                f"{count} shards to end, or start this one as one of {count}"
            )


def _refuse_other_terms(folder: Path, own: Path, terms: Mapping[str, str]) -> None:
    for other, count in _held_shards(folder):
        path = _shard_file(folder, other, count)
        theirs = _terms(path)
        if path == own or theirs is None:
            continue
        names = sorted(n for n in theirs.keys() | terms.keys() if theirs.get(n) != terms.get(n))
        if names:
            changes = "".join(
                f"\n  {name}: {theirs.get(name, 'none')} -> {terms.get(name, 'none')}" for name in names
            )
            raise UserError(
                f"{folder} is being written by {_holder(path)} as shard {other}/{count} with other settings, "
                f"so rows of two kinds would mix:{changes}\nGive all shards the same settings, or wait for "
                "that one to end"
            )


def _terms(path: Path) -> dict[str, str] | None:
    """What a worker has noted; None where it has noted nothing yet."""
    try:
        found = json.loads(path.read_text()).get("terms")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _taken(folder: Path, shard: int, shards: int) -> str:
    return (
        f"shard {shard}/{shards} of {folder} is being written by "
        f"{_holder(_shard_file(folder, shard, shards))}; a shard has one worker: wait for it to end, stop "
        "it, or start another shard"
    )


def _only_one(folder: Path, writers: str) -> str:
    return (
        f"{folder} is being written by {writers}; only one writer is allowed, because two "
        "would remove each other's unfinished parts: wait for it to end, or stop it"
    )


def _writers(folder: Path) -> str:
    """Names whoever holds `folder`: a writer, or the first worker and how many there are."""
    with _probing(folder):
        shards = _held_shards(folder)
    if not shards:
        return _holder(folder / "writer.lock")
    (shard, count), others = shards[0], len(shards) - 1
    more = f" and by {others} more of the {count} shards" if others else ""
    return f"{_holder(_shard_file(folder, shard, count))} as shard {shard}/{count}{more}"


def _shard_file(folder: Path, shard: int, shards: int) -> Path:
    return folder / f"shard-{shard}-of-{shards}.lock"


def open_lock_file(path: Path) -> int:
    """A descriptor of a lock's file, made with its folder where they are missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as reason:
        raise disk_fault(reason, path) from reason


def try_lock(descriptor: int, path: Path, operation: int) -> bool:
    """`flock`: False where another process holds it. Raises MachineError where the disk knows no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as reason:
        if reason.errno not in _UNSUPPORTED:
            raise
        raise MachineError(
            f"{path} cannot be locked ({reason.strerror}), so a second writer could not be kept out: "
            "mount the disk with flock, or choose a run_dir on a local disk"
        ) from reason
    return True


def _let_go() -> None:
    """A forked child shares its parent's locks; it closes them, or a killed parent would still hold them."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _write_name(descriptor: int, path: Path, command: str, terms: Mapping[str, str] | None = None) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "started": started}
    holder |= {} if terms is None else {"terms": dict(terms)}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError as reason:
        raise disk_fault(reason, path) from reason


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return (
            f"`{holder['command']}` (process {holder['pid']} on {holder['host']}, since {holder['started']})"
        )
    except (OSError, ValueError, KeyError):  # it may be between creating the file and writing its name
        return "another process that has not written its name yet"
