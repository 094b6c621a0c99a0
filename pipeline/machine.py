"""What this machine is: cores, memory, GPUs, disks. Its name is left out: records are handed on."""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cache.memory import read_memory

_QUERY = ("index", "uuid", "name", "memory.total", "memory.free", "driver_version")
_PATIENCE = 10.0  # seconds for nvidia-smi, which hangs where a driver is stuck
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU this process may use. Bytes; `free` is None and `driver` empty where only torch was asked."""

    name: str
    memory: int
    free: int | None
    driver: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use.

    cores             processors of its affinity mask
    memory            bytes of RAM, or of its container's bound where that is lower
    memory_available  bytes that can be had now without swapping
    """

    cpu: str
    cores: int
    memory: int
    memory_available: int
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that a folder lies on, or will lie on. Bytes; `free` is what this user may still write."""

    total: int
    free: int


def look_at_machine() -> Machine:
    """Takes as long as nvidia-smi where there is one, which is asked once per process, else milliseconds."""
    total, available = read_memory()
    return Machine(_cpu(), usable_cores(), total, available, look_for_gpus())


def disk_of(folder: Path) -> Disk:
    """The disk of a folder that may not be there yet: that of its nearest parent which is."""
    usage = shutil.disk_usage(nearest_folder(folder))
    return Disk(usage.total, usage.free)


def nearest_folder(path: Path) -> Path:
    """The path itself or its nearest parent that exists."""
    absolute = path.absolute()
    return next(place for place in (absolute, *absolute.parents) if place.exists())


def _cpu() -> str:
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def usable_cores() -> int:
    """Processors of this process's affinity mask."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def look_for_gpus() -> tuple[Gpu, ...]:
    """The GPUs of CUDA_VISIBLE_DEVICES, or all. Where nvidia-smi cannot say, torch can if it is loaded."""
    table = ask_nvidia_smi()
    gpus = None if table is None else visible_gpus(table, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return _torch_gpus() if gpus is None else gpus


@lru_cache(maxsize=1)
def ask_nvidia_smi() -> str | None:
    """The program's table; None where it is not installed or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def visible_gpus(table: str, visible: str | None) -> tuple[Gpu, ...] | None:
    """The GPUs of nvidia-smi's table that CUDA shows to a process under CUDA_VISIBLE_DEVICES = `visible`.

    By number or the beginning of the uuid; like CUDA it stops at the first name that is no GPU. None where
    slices of GPUs (MIG) are named, which the table does not hold.
    """
    rows = [[cell.strip() for cell in row] for row in csv.reader(table.splitlines())]
    rows = [row for row in rows if len(row) == len(_QUERY)]
    if visible is None:
        return tuple(map(_gpu, rows))
    chosen = []
    for name in filter(None, (part.strip() for part in visible.split(","))):
        if name.startswith("MIG"):
            return None
        row = _named(name, rows)
        if row is None:
            break
        chosen.append(_gpu(row))
    return tuple(chosen)


def _named(name: str, rows: Sequence[Sequence[str]]) -> Sequence[str] | None:
    if name.isdecimal():
        return next((row for row in rows if row[0] == name), None)
    return next((row for row in rows if name.startswith("GPU-") and row[1].startswith(name)), None)


def _gpu(row: Sequence[str]) -> Gpu:
    _, _, name, total, free, driver = row
    return Gpu(name, _mib(total), _mib(free), driver)


def _mib(cell: str) -> int:
    """Bytes of a cell in MiB; 0 where it says [N/A], as for GPUs that share the machine's memory."""
    return int(cell) * _MIB if cell.isdecimal() else 0


def _torch_gpus() -> tuple[Gpu, ...]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return ()
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return tuple(Gpu(gpu.name, gpu.total_memory, None, "") for gpu in found)
