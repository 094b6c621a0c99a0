"""Merges small parts into few large ones and drops what newer rows replaced; may be killed anywhere.

Each step writes new parts beside the old ones, lists them in their place in one change of the manifest, and
only then removes the old ones. A kill leaves unlisted files, which the next writer removes.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.atomic import disk_fault
from cache.damage import MERGED
from cache.errors import MachineError
from cache.keys import fingerprint
from cache.lock import writer_lock
from cache.manifest import Manifest, Part, PartKind, exchange_parts, load_manifest, remove_leftovers
from cache.parquet import read_parts
from cache.paths import StorePaths
from cache.rationales import QUARANTINE_SCHEMA, read_rationales
from cache.rewrite import merge_parts, require_whole, rewrite_shard
from cache.shard_keys import shard_keys
from cache.vectors import vector_schema

Mask = NDArray[np.bool_]

ROWS_PER_PART = 16_384  # 64 MiB of vectors of 1024 numbers; what one damaged byte costs of rationales
STALE_SHARE = 0.25  # of a shard's rows, beyond which rewriting it is worth its time
_EARLIER = "earlier_producers"
_SPARE = 1 << 20  # bytes left to the manifest and to whoever else writes


@dataclass(slots=True)
class Compaction:
    """What a call did: files and bytes of the listed parts before and after, and what left the store.

    dropped   rows that newer ones had replaced, by kind of part
    removed   files that were not listed, and those that a repair had set aside
    """

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    removed: int = 0


@dataclass(frozen=True, slots=True)
class _Step:
    """Parts that leave the manifest, the rows they lose, and how the parts in their place are written."""

    kind: str
    parts: Sequence[Part]
    dropped: int
    write: Callable[[], list[Part]]


def compact(
    paths: StorePaths,
    keep_versions: bool = False,
    rows_per_part: int = ROWS_PER_PART,
    stale_share: float = STALE_SHARE,
    say: Callable[[str], None] = lambda _: None,
) -> Compaction:
    """Does every step that is worth it; what is read of the store stays the same but for earlier versions.

    keep_versions   rationales of earlier versions stay, and what other settings made of banks and labels
    stale_share     a shard is rewritten when more than this share of its rows is read from later shards

    Raises UserError where another process is writing the store or a part is damaged, MachineError where
    the disk has too little room for a step; steps before it are kept.
    """
    with writer_lock(paths.require().root, "inspect compact"):
        before = load_manifest(paths)
        report = Compaction(len(before.parts), bytes_before=sum(part.bytes for part in before.parts))
        report.removed = len(remove_leftovers(paths)) + _remove_set_aside(paths)
        for step in _steps(paths, before, keep_versions, rows_per_part, stale_share):
            _do(paths, step)
            report.dropped[step.kind] = report.dropped.get(step.kind, 0) + step.dropped
            say(f"{step.kind}: {len(step.parts)} files rewritten or dropped, {step.dropped} rows left out")
        _remove_headers(paths)
        after = load_manifest(paths).parts
    report.files_after, report.bytes_after = len(after), sum(part.bytes for part in after)
    return report


def _do(paths: StorePaths, step: _Step) -> None:
    """The new parts take the place of the last old one; order among other kinds of parts means nothing."""
    require_whole(paths, step.parts)
    new = step.write()
    exchange: dict[str, list[Part]] = {part.path: [] for part in step.parts}
    exchange[step.parts[-1].path] = new
    if step.kind == "vectors":
        exchange |= _moved_index(load_manifest(paths), step.parts, new)
    exchange_parts(paths, exchange)
    for part in step.parts:
        (paths.root / part.path).unlink(missing_ok=True)


def _moved_index(manifest: Manifest, old: Sequence[Part], new: Sequence[Part]) -> dict[str, list[Part]]:
    """The same index, built from vectors that have only moved to other parts."""
    sources, found = [part.checksum for part in old], {}
    for index in manifest.of("index", old[0].name):
        if index.producer.get("built_from") == sources:
            producer = {**index.producer, "built_from": [part.checksum for part in new]}
            found[index.path] = [replace(index, producer=producer)]
    return found


def _steps(
    paths: StorePaths, manifest: Manifest, keep_versions: bool, rows_per_part: int, stale_share: float
) -> Iterator[_Step]:
    if not keep_versions:
        yield from _out_of_force(manifest)
    masks: dict[PartKind, Callable[[Sequence[Part]], Mask]] = {
        "rationales": lambda parts: _rationale_mask(paths, parts, keep_versions),
        "quarantine": lambda parts: _quarantine_mask(paths, parts, keep_versions),
        "vectors": lambda parts: _vector_mask(paths, parts),
    }
    for kind, find in masks.items():
        for parts in _groups(manifest, kind):
            kept = find(parts)
            if len(parts) > math.ceil(kept.sum() / rows_per_part) or not kept.all():
                yield _merge(paths, kind, parts, kept, rows_per_part)
    for name in sorted({part.name for part in manifest.of_kind("bank")}):
        yield from _shard_steps(paths, manifest.in_force("bank", name), stale_share)


def _groups(manifest: Manifest, kind: PartKind) -> list[list[Part]]:
    """Parts of a kind in force, or all of them where none is out of force, by name."""
    parts = [part for part in manifest.of_kind(kind) if _is_in_force(manifest, part)]
    return [[part for part in parts if part.name == name] for name in sorted({p.name for p in parts})]


def _is_in_force(manifest: Manifest, part: Part) -> bool:
    """Rationales and failures always; what nothing was put in force for yet may be about to be."""
    return manifest.current.get(part.name, part.fingerprint) == part.fingerprint


def _out_of_force(manifest: Manifest) -> Iterator[_Step]:
    kinds: tuple[PartKind, ...] = ("bank", "vectors", "labels")
    for kind in kinds:
        parts = [part for part in manifest.of_kind(kind) if not _is_in_force(manifest, part)]
        if parts:
            yield _Step(f"{kind} of other settings", parts, sum(part.rows for part in parts), list)


def _merge(paths: StorePaths, kind: str, parts: Sequence[Part], kept: Mask, rows_per_part: int) -> _Step:
    def write() -> list[Part]:
        _require_room(paths, sum(part.bytes for part in parts), kind)
        return merge_parts(paths, parts, kept, rows_per_part, _joint_producer(parts))

    return _Step(kind, parts, int((~kept).sum()), write)


def _shard_steps(paths: StorePaths, parts: Sequence[Part], stale_share: float) -> Iterator[_Step]:
    """Every shard by itself, so that no more room is needed than one takes."""
    steps = list(_planned_shards(paths, parts, stale_share))
    if steps:  # what is dropped must not follow from a damaged shard that only seems to replace it
        require_whole(paths, parts)
    yield from steps


def _planned_shards(paths: StorePaths, parts: Sequence[Part], stale_share: float) -> Iterator[_Step]:
    keys = {part.path: shard_keys(paths.root / part.path) for part in parts}
    read_from = {image: path for path, images in keys.items() for image in images}
    for part in parts:
        kept = {image for image in keys[part.path] if read_from[image] == part.path}
        if not kept:
            yield _Step("bank", [part], part.rows, list)
        elif part.rows - len(kept) > stale_share * part.rows:
            yield _Step("bank", [part], part.rows - len(kept), partial(_rewrite, paths, part, kept))


def _rewrite(paths: StorePaths, part: Part, kept: set[str]) -> list[Part]:
    _require_room(paths, part.bytes, part.path)
    return [rewrite_shard(paths, part, kept)]


def _rationale_mask(paths: StorePaths, parts: Sequence[Part], keep_versions: bool) -> Mask:
    if keep_versions:
        return np.ones(sum(part.rows for part in parts), np.bool_)
    return read_rationales(paths, [])["current"].to_numpy()


def _quarantine_mask(paths: StorePaths, parts: Sequence[Part], keep_versions: bool) -> Mask:
    if keep_versions:
        return np.ones(sum(part.rows for part in parts), np.bool_)
    rows = _frame(paths, parts, QUARANTINE_SCHEMA, ["image", "stage"])
    return rows.select(kept=pl.struct("image", "stage").is_last_distinct())["kept"].to_numpy()


def _vector_mask(paths: StorePaths, parts: Sequence[Part]) -> Mask:
    """As `cache.vectors.read_vectors` chooses, but with the rows that only say that there is no rationale."""
    rows = _frame(paths, parts, vector_schema(1), ["id", "image", "row_key"])
    newest = pl.col("row_key").last().over("image") == pl.col("row_key")
    return rows.select(kept=newest & pl.struct("id", "row_key").is_last_distinct())["kept"].to_numpy()


def _frame(paths: StorePaths, parts: Sequence[Part], schema: Any, columns: list[str]) -> pl.DataFrame:
    frame = pl.from_arrow(read_parts(paths, parts, schema, columns))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _joint_producer(parts: Sequence[Part]) -> dict[str, Any]:
    """The newest producer, with the others that differ from it beside."""
    found: dict[str, Mapping[str, Any]] = {}
    merged = 0
    for part in parts:
        plain = {key: value for key, value in part.producer.items() if key not in (MERGED, _EARLIER)}
        for producer in (*part.producer.get(_EARLIER, ()), plain):
            found.pop(fingerprint(producer), None)
            found[fingerprint(producer)] = producer
        merged += part.producer.get(MERGED, 1)
    *earlier, newest = found.values()
    return {**newest, MERGED: merged, **({_EARLIER: earlier} if earlier else {})}


def _require_room(paths: StorePaths, needed: int, what: str) -> None:
    free = shutil.disk_usage(paths.root).free
    if free < needed + _SPARE:
        raise MachineError(
            f"rewriting {what} needs up to {(needed + _SPARE) / 2**20:.0f} MiB beside the old files until "
            f"they can be removed, {paths.root} has {free / 2**20:.0f} MiB free; nothing was lost: make "
            "room, then run the same command again"
        )


def _remove_set_aside(paths: StorePaths) -> int:
    files = [path for path in paths.removed.rglob("*") if path.is_file()]
    try:
        if paths.removed.exists():
            shutil.rmtree(paths.removed)
    except OSError as reason:
        raise disk_fault(reason, paths.removed) from reason
    return len(files)


def _remove_headers(paths: StorePaths) -> None:
    """Headers of banks that nothing is left of."""
    manifest = load_manifest(paths)
    banks = manifest.of_kind("bank")
    used = {(part.name, part.fingerprint[:12]) for part in banks}
    used |= {(name, mark[:12]) for name, mark in manifest.current.items()}
    for header in sorted((paths.root / "banks").glob("*/*.json")):
        if (header.parent.name, header.stem) not in used:
            header.unlink()
