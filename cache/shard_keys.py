"""Which rows one shard of a bank holds, whatever later shards replace."""

from __future__ import annotations

from pathlib import Path

import lmdb

from cache.errors import UserError
from cache.lmdb_file import reading
from cache.manifest import Manifest
from cache.paths import StorePaths


def shard_keys(path: Path) -> dict[str, str]:
    """Image -> hex key of its row, in the shard's own order. Raises UserError where it is damaged."""
    try:
        with reading(path) as opened:
            return dict(opened.row_keys())
    except (OSError, ValueError, lmdb.Error) as reason:
        raise UserError(
            f"bank shard {path} cannot be read ({reason}); find the damage with `mipd-pipe inspect verify`"
        ) from None


def shards_in_force(paths: StorePaths, manifest: Manifest, name: str) -> dict[str, str]:
    """Image -> path, relative to the store, of the shard whose row of a bank is read."""
    found: dict[str, str] = {}
    for part in manifest.in_force("bank", name):
        found |= dict.fromkeys(shard_keys(paths.root / part.path), part.path)
    return found
