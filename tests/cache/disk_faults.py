"""Drives every writer of a store on a disk that is full and then read-only; prints what came of it.

Run in a mount namespace of its own, whose end takes the disk away with it:
``unshare --mount sh -c 'mount -t tmpfs -o size=1m tmpfs "$0" && exec python disk_faults.py "$0"' FOLDER``
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cache.atomic import TEMPORARY
from cache.bank_writer import ShardWriter
from cache.index import build_index
from cache.lock import writer_lock
from cache.manifest import put_in_force
from cache.paths import StorePaths
from cache.rationales import append_rationales
from cache.vectors import PICTURES, VectorKey, write_vectors
from cache.verify import verify
from tests.cache.small_store import PRODUCER, VISION, bank_header, four, noise, small_store

BLOCK = 4096


def take_lock(paths: StorePaths) -> None:
    with writer_lock(paths.root, "embed-teacher"):
        pass


def add_shard(paths: StorePaths) -> None:
    header = bank_header(VISION, "bf16")
    with ShardWriter.open(paths, header, 1, PRODUCER) as shard:
        shard.add("a.jpg", "00" * 16, noise(3, 8))


def add_vectors(paths: StorePaths) -> None:
    write_vectors(paths, PICTURES, [VectorKey("a.jpg")], ["1"], noise(1, 8), "f", PRODUCER)


WRITERS: dict[str, Callable[[StorePaths], object]] = {
    "writer.lock": take_lock,
    "manifest.json": lambda paths: put_in_force(paths, "verbs", "other"),
    "rationales": lambda paths: append_rationales(paths, four("a.jpg"), PRODUCER),
    "banks": add_shard,
    "vectors": add_vectors,
    "index": lambda paths: build_index(paths, PICTURES, PRODUCER),
}


def fill(folder: Path) -> None:
    """Leaves no free block; the lock's file is there already, but empty."""
    folder.joinpath("writer.lock").touch()
    with folder.joinpath("filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(BLOCK))
        except OSError:
            pass


def outcomes(paths: StorePaths) -> dict[str, str]:
    """Writer -> type and text of what it raised."""
    found = {}
    for name, write in WRITERS.items():
        try:
            write(paths)
        except Exception as reason:
            found[name] = f"{type(reason).__name__}: {reason}"
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main(folder: Path) -> None:
    paths = small_store(folder / "store")
    for index in paths.index.glob(f"{PICTURES}-*"):
        index.unlink()  # so that there is one to build
    fill(paths.root)
    before = contents(paths.root)
    full = outcomes(paths)
    unchanged = contents(paths.root) == before
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    read_only = outcomes(paths)
    faults = [fault.file for fault in verify(paths)]  # reading needs no writing
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    paths.root.joinpath("filler").unlink()
    build_index(paths, PICTURES, PRODUCER)
    left = [path.name for path in paths.root.rglob("*") if TEMPORARY in path.name]
    found = {"full": full, "unchanged": unchanged, "read_only": read_only, "faults": faults, "left": left}
    json.dump({**found, "whole_again": verify(paths) == []}, sys.stdout)


main(Path(sys.argv[1]))
