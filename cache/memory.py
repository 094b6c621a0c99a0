"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

# Files of a cgroup, version 2 and version 1: what may be held, what is held.
_BOUNDS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def read_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Total and available bytes, within the bounds of the container this process runs in."""
    fields = (line.split() for line in _read(proc / "meminfo").splitlines())
    kib = {words[0].rstrip(":"): int(words[1]) for words in fields if len(words) > 1}
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if "MemTotal" in kib:
        total = kib["MemTotal"] * 1024
    available = kib["MemAvailable"] * 1024 if "MemAvailable" in kib else total
    for folder in _cgroup_folders(proc, cgroups):
        for bound, held in _BOUNDS:
            most, now = _read(folder / bound).strip(), _read(folder / held).strip()
            if most.isdecimal() and now.isdecimal():
                total = min(total, int(most))
                # The page cache counts as held there, but gives way.
                available = min(available, int(most) - int(now) + _page_cache(folder))
    return total, max(0, min(available, total))


def _page_cache(folder: Path) -> int:
    fields = dict(line.split()[:2] for line in _read(folder / "memory.stat").splitlines())
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))


def _cgroup_folders(proc: Path, cgroups: Path) -> list[Path]:
    """Folders that may bound this process's memory: its own and all above it, of both versions.

    In a container the path may be the host's while what is mounted is the container's own: then only the
    topmost folder is there, and it is the right one.
    """
    folders: list[Path] = []
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            base = cgroups / "memory" if controllers else cgroups
            own = base / path.lstrip("/")
            folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(base)]
    return folders


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
