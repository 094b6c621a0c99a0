"""Reading while another process replaces parts: nothing is locked against it, so the reading begins anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cache.errors import UserError
from cache.manifest import Manifest, load_manifest
from cache.paths import StorePaths

Found = TypeVar("Found")
Read = TypeVar("Read")

_TRIES = 5  # a compaction replaces the parts of one kind once, but each shard of a bank by itself
WAIT = "wait for `mipd-pipe inspect compact` to end, then run the same command again"


def read_anew(paths: StorePaths, find: Callable[[Manifest], Found], read: Callable[[Found], Read]) -> Read:
    """`read` of what `find` picks out of the manifest; once more where that has changed meanwhile.

    `inspect compact` may put other parts in their place between the manifest and the reading. Raises what
    `read` raises where the manifest still says the same, and UserError where it never does.
    """
    for _ in range(_TRIES):
        found = find(load_manifest(paths))
        try:
            return read(found)
        except UserError:
            if find(load_manifest(paths)) == found:
                raise
    raise UserError(f"the parts of {paths.root} were replaced {_TRIES} times while they were read: {WAIT}")
