"""How much memory processes hold, read from /proc."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
_KIB_PER_GIB = 1024 * 1024


def private_gib(pids: Iterable[int]) -> float:
    """Memory in GiB that belongs to the processes alone; one that has ended counts nothing.

    The pages of files, such as weights that are mapped, are left out: the system takes them back when it
    needs room. 0 where there is no /proc.
    """
    return sum(memory_kib(pid, "RssAnon") for pid in pids) / _KIB_PER_GIB


def memory_kib(pid: int, line: str) -> int:
    """One line of a process's status, such as RssAnon (private now) or VmHWM (most resident at once); 0 where
    there is none."""
    for said in _read(PROC / str(pid) / "status").splitlines():
        if said.startswith(f"{line}:"):
            return int(said.split()[1])
    return 0


def family(pid: int) -> list[int]:
    """A process and everything started below it; empty when it has ended."""
    members = [pid] if (PROC / str(pid)).is_dir() else []
    for listed in (PROC / str(pid) / "task").glob("*/children"):
        for child in _read(listed).split():
            members += family(int(child))
    return members


def _read(path: Path) -> str:
    """A file of /proc; empty when its process has ended meanwhile."""
    try:
        return path.read_text()
    except OSError:
        return ""
