"""Takes out of a store what is proven bad, so that the same commands again make exactly that anew.

A damaged file leaves the manifest and is kept in `removed/` until the next `inspect compact`. What a lost
file leaves behind goes with it where it would keep its pictures from being asked for again. Everything else
that `verify` finds, as vectors older than their bank, `embed-teacher` mends by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa

from cache.atomic import disk_fault
from cache.bank_header import read_header
from cache.damage import ASKED, Version, orphaned_failures, torn_versions
from cache.errors import UserError
from cache.lock import writer_lock
from cache.manifest import (
    Manifest,
    OtherFormatError,
    Part,
    describe_part,
    exchange_parts,
    load_manifest,
    next_number,
    part_file,
    part_tag,
    renew_copy,
    require_manifest,
    restore_manifest,
)
from cache.parquet import read_parts, write_table
from cache.paths import StorePaths
from cache.rationales import QUARANTINE_SCHEMA, SCHEMA
from cache.shard_keys import shard_keys
from cache.verify import Fault, LeakRule, verify

Deed = Literal["restore", "renew", "remove", "drop"]
_ROUNDS = 8  # each takes something away, and hardly ever more than two are needed
_VERSION = ["image", "request_key"]


@dataclass(frozen=True, slots=True)
class Action:
    """One step of a repair.

    deed   restore: the manifest from its copy; renew: the copy from the manifest; remove: a file; drop: the
           rows of one version of a picture, or of its failure
    file   relative to the store
    key    request key of what is dropped; else ""
    image  picture of what is dropped; else ""
    """

    deed: Deed
    file: str
    reason: str
    image: str = ""
    key: str = ""

    def __str__(self) -> str:
        told = {
            "restore": f"{self.file}: put back from its copy",
            "renew": f"{self.file}: written anew",
            "remove": f"{self.file}: removed",
            "drop": f"{self.file} [{self.image}]: rows of version {self.key[:12]} dropped",
        }
        return f"{told[self.deed]}; {self.reason}"


def repair(
    paths: StorePaths,
    leak: LeakRule | None = None,
    trained: Collection[str] | None = None,
    pictures: Collection[str] | None = None,
) -> list[Action]:
    """Does what `plan_repair` says until there is nothing left to do; returns all that was done.

    Raises UserError where another process is writing the store, the manifest cannot be saved, or the store
    is of another format; MachineError where the disk is full or cannot be written.
    """
    done: list[Action] = []
    with writer_lock(paths.root, "inspect repair"):
        for _ in range(_ROUNDS):
            actions = plan_repair(paths, leak, trained, pictures)
            if not actions:
                return done
            _carry_out(paths, actions)
            done += actions
    raise AssertionError(f"a repair that does not end: {actions[0]}")


def plan_repair(
    paths: StorePaths,
    leak: LeakRule | None = None,
    trained: Collection[str] | None = None,
    pictures: Collection[str] | None = None,
) -> list[Action]:
    """The next steps, changing nothing; [] = nothing is proven bad. Parameters as for `verify`.

    Joins are looked at only when every file is whole, so that the steps after these may bring up more.
    """
    if (lost := _manifest_action(paths)) is not None:
        return [lost]
    faults = verify(paths.require(), False, lambda _: None, leak, trained, pictures)
    manifest = load_manifest(paths)
    gone = _files_to_remove(paths, manifest, faults)
    actions = [Action("remove", file, reason) for file, reason in gone.items()]
    if any(fault.file == paths.manifest_copy.name for fault in faults):
        actions.append(Action("renew", paths.manifest_copy.name, "it is damaged"))
    return actions + _drops(paths, manifest, gone.keys(), faults)


def _manifest_action(paths: StorePaths) -> Action | None:
    try:
        load_manifest(paths)
    except OtherFormatError:
        raise
    except UserError as reason:
        return Action("restore", paths.manifest.name, str(reason))
    if not paths.manifest.exists() and paths.manifest_copy.exists():
        return Action("restore", paths.manifest.name, "it is missing")
    require_manifest(paths)
    return None


def _files_to_remove(paths: StorePaths, manifest: Manifest, faults: Iterable[Fault]) -> dict[str, str]:
    """Path of every file that is bad as a whole -> why."""
    kinds = {part.path: part.kind for part in manifest.parts}
    found: dict[str, str] = {}
    for fault in faults:
        kind, (folder, _, name) = kinds.get(fault.file), fault.file.partition("/")
        # A bad row takes its shard or vectors along; of rationales only the picture's version goes.
        if kind is not None and fault.version is None:
            found.setdefault(fault.file, fault.reason)
        elif folder == "index":
            found |= {part.path: fault.reason for part in manifest.of("index", name)}
        elif folder == "banks" and not fault.key:
            found |= _bank_files(paths, manifest, name, fault.reason)
    return found


def _bank_files(paths: StorePaths, manifest: Manifest, name: str, reason: str) -> dict[str, str]:
    """The header where it is the fault, which `embed-teacher` writes again; else the shards that are."""
    try:
        read_header(paths, name)
    except UserError:
        header = paths.bank(name) / f"{manifest.current[name][:12]}.json"
        return {header.relative_to(paths.root).as_posix(): reason} if header.exists() else {}
    return {part.path: reason for part in manifest.in_force("bank", name) if not _has_its_rows(paths, part)}


def _has_its_rows(paths: StorePaths, part: Part) -> bool:
    try:
        return len(shard_keys(paths.root / part.path)) == part.rows
    except UserError:
        return False


def _drops(
    paths: StorePaths, manifest: Manifest, gone: Collection[str], faults: Sequence[Fault]
) -> list[Action]:
    """Rows to take out of whole rationale and quarantine parts."""
    left = [part for part in manifest.of("rationales") if part.path not in gone]
    lost = {part.path for part in manifest.of("rationales")} & set(gone)
    bad = {(fault.key, fault.version): fault.reason for fault in faults if fault.version is not None}
    torn = torn_versions(paths, left) if lost else set()
    orphans = orphaned_failures(paths, manifest, lost, left) if lost else set()
    reasons = dict.fromkeys(orphans, "its rationales may have been in a lost part")
    reasons |= dict.fromkeys(torn, "the rest of its attempts may have been in a lost part")
    reasons |= bad
    parts = [*left, *(part for part in manifest.of("quarantine") if part.path not in gone)]
    return [
        Action("drop", part.path, reasons[version], *version)
        for part in parts
        for version in sorted(_versions(paths, part) & reasons.keys())
    ]


def _versions(paths: StorePaths, part: Part) -> set[Version]:
    schema = SCHEMA if part.kind == "rationales" else QUARANTINE_SCHEMA
    columns = _VERSION if part.kind == "rationales" else [*_VERSION, "stage"]
    frame = _read(paths, part, schema, columns)
    if part.kind == "quarantine":
        frame = frame.filter(pl.col("stage") == ASKED)
    return set(frame.select(_VERSION).iter_rows())


def _read(paths: StorePaths, part: Part, schema: pa.Schema, columns: Sequence[str]) -> pl.DataFrame:
    frame = pl.from_arrow(read_parts(paths, [part], schema, list(columns)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _carry_out(paths: StorePaths, actions: Sequence[Action]) -> None:
    """The manifest changes in one step, before any file is moved, so that a kill does no harm."""
    if any(action.deed == "restore" for action in actions):
        _set_aside(paths, paths.manifest)
        restore_manifest(paths)
        return
    parts = {part.path: part for part in load_manifest(paths).parts}
    gone = [action.file for action in actions if action.deed == "remove"]
    exchange: dict[str, list[Part]] = {file: [] for file in gone if file in parts}
    drops: dict[str, set[Version]] = {}
    for action in actions:
        if action.deed == "drop":
            drops.setdefault(action.file, set()).add((action.image, action.key))
    exchange |= {file: _without(paths, parts[file], versions) for file, versions in drops.items()}
    exchange_parts(paths, exchange)
    for file in (*gone, *drops):
        _set_aside(paths, paths.root / file)
    renew_copy(paths)


def _without(paths: StorePaths, part: Part, versions: Collection[Version]) -> list[Part]:
    """A new part with the other rows of `part`; none where nothing is left."""
    schema = SCHEMA if part.kind == "rationales" else QUARANTINE_SCHEMA
    table = read_parts(paths, [part], schema, schema.names)
    rows = zip(table["image"].to_pylist(), table["request_key"].to_pylist(), strict=True)
    kept = [version not in versions for version in rows]
    if part.kind == "quarantine":
        kept = [keep or stage != ASKED for keep, stage in zip(kept, table["stage"].to_pylist(), strict=True)]
    table = table.filter(kept)
    if not table.num_rows:
        return []
    old = paths.root / part.path
    tag = part_tag(old) or ""
    target = old.parent / part_file("part", next_number(paths, old.parent, ".parquet", tag), ".parquet", tag)
    write_table(target, table)
    return [describe_part(paths, target, part.kind, table.num_rows, part.producer)]


def _set_aside(paths: StorePaths, file: Path) -> None:
    """Moves a file to the same place under `removed/`, with a number where there is one of its name."""
    place = paths.removed / file.relative_to(paths.root)
    number = 0
    target = place
    while target.exists():
        number += 1
        target = place.with_name(f"{place.name}.{number}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    except FileNotFoundError:  # a missing part is what was to be repaired
        return
    except OSError as reason:
        raise disk_fault(reason, target) from reason
