"""How much memory is free, as the kernel and the container's bounds say."""

from __future__ import annotations

from pathlib import Path

from cache.memory import read_memory

GIB = 1 << 30


def system(folder: Path, cgroup: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A /proc with 64 GiB, 60 of them available, and a /sys/fs/cgroup."""
    proc, groups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: {64 << 20} kB\nMemAvailable: {60 << 20} kB\nHugePages: 0\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = groups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, groups


def test_without_a_bound_the_machines_memory_counts(tmp_path: Path) -> None:
    proc, groups = system(tmp_path, "0::/job\n", {"job/memory.max": "max\n", "job/memory.current": "1\n"})
    assert read_memory(proc, groups) == (64 * GIB, 60 * GIB)


def test_a_containers_bound_counts_less_what_it_holds_beside_the_page_cache(tmp_path: Path) -> None:
    files = {
        "memory.max": f"{16 * GIB}\n",
        "memory.current": f"{6 * GIB}\n",
        "memory.stat": f"anon 5\ninactive_file {2 * GIB}\n",
    }
    # The outer group bounds as well, though the process is in an inner one.
    proc, groups = system(tmp_path, "0::/inner\n", files)
    assert read_memory(proc, groups) == (16 * GIB, 12 * GIB)


def test_the_bound_of_an_older_kernel_counts_too(tmp_path: Path) -> None:
    files = {
        "memory/slurm/job/memory.limit_in_bytes": f"{8 * GIB}\n",
        "memory/slurm/job/memory.usage_in_bytes": f"{9 * GIB}\n",
    }
    proc, groups = system(tmp_path, "3:cpu:/other\n4:memory:/slurm/job\n0::/\n", files)
    assert read_memory(proc, groups) == (8 * GIB, 0)
