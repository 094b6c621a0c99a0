"""The list of everything finished in a store. What it does not list does not count.

A part is first written and renamed into place and only then listed here, so a kill at any moment leaves
either a listed whole part or an unlisted leftover that the next writer removes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cache.atomic import TEMPORARY, write_bytes
from cache.errors import UserError
from cache.keys import digest_file
from cache.lock import short_lock
from cache.manifest_file import RESTORE, OtherFormatError, from_json, to_json
from cache.part import Manifest, Part, PartKind
from cache.paths import StorePaths

__all__ = ["Manifest", "OtherFormatError", "Part", "PartKind"]  # of the modules that hold them, for all users
_PART_SUFFIXES = {".parquet", ".lmdb", ".faiss"}
# A part's name ends in a number, and where several workers write side by side, first in whose it is.
_PART_NAME = re.compile(r".*?(?:-([0-9]+of[0-9]+))?-([0-9]{5,})")


def load_manifest(paths: StorePaths) -> Manifest:
    """Reads the manifest; an absent one is empty. Raises UserError where it is damaged or newer."""
    return _load(paths.manifest)


def load_manifest_copy(paths: StorePaths) -> Manifest:
    """Reads the copy, as `load_manifest` does. It is the manifest's equal, or one change ahead of it."""
    return _load(paths.manifest_copy)


def _load(path: Path) -> Manifest:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Manifest()
    return from_json(data, path)


def describe_part(
    paths: StorePaths,
    path: Path,
    kind: PartKind,
    rows: int,
    producer: dict[str, Any],
    name: str = "",
    fingerprint: str = "",
    measured: dict[str, Any] | None = None,
) -> Part:
    """The manifest's entry of a file that is in its final place."""
    return Part(
        path=path.relative_to(paths.root).as_posix(),
        kind=kind,
        name=name,
        rows=rows,
        bytes=path.stat().st_size,
        checksum=digest_file(path),
        fingerprint=fingerprint,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        producer=producer,
        measured=measured or {},
    )


@contextmanager
def editing(paths: StorePaths) -> Iterator[list[Manifest]]:
    """Read-modify-write of the manifest: put the new one in place of the list's only element.

    Held by a short lock of its own, so that several workers may finish parts of one store.
    """
    with _manifest_lock(paths):
        before = load_manifest(paths)
        cell = [before]
        yield cell
        if cell[0] != before or not paths.manifest.exists():
            _write(paths, to_json(cell[0]))


def _write(paths: StorePaths, data: bytes) -> None:
    """The copy first: whatever it lists is there, because parts are listed after they are finished and
    removed after they have left the manifest."""
    write_bytes(paths.manifest_copy, data)
    write_bytes(paths.manifest, data)


def restore_manifest(paths: StorePaths) -> None:
    """Puts the copy in place of a lost or damaged manifest; call it only while holding the store for writing.

    Raises UserError where the copy is of no use either, or the manifest is whole but of another format.
    """
    with _manifest_lock(paths):
        if not paths.manifest_copy.exists():
            raise UserError(f"{paths.manifest} is lost or damaged and has no copy beside it: {_GONE}")
        data = paths.manifest_copy.read_bytes()
        try:
            from_json(data, paths.manifest_copy)
        except UserError as reason:
            raise UserError(
                f"the manifest and its copy are both lost or damaged ({reason}): {_GONE}"
            ) from None
        write_bytes(paths.manifest, data)


_GONE = (
    "nothing else says which parts count; restore one of them from a backup, or move the store away and run "
    "again"
)


def renew_copy(paths: StorePaths) -> bool:
    """Makes the manifest's copy its equal again; False where it was. Raises UserError as `load_manifest`."""
    with _manifest_lock(paths):
        if not paths.manifest.exists():
            return False
        data = paths.manifest.read_bytes()
        if paths.manifest_copy.exists() and paths.manifest_copy.read_bytes() == data:
            return False
        from_json(data, paths.manifest)
        write_bytes(paths.manifest_copy, data)
        return True


def _manifest_lock(paths: StorePaths) -> AbstractContextManager[None]:
    return short_lock(paths.root / "manifest.lock")


def add_parts(paths: StorePaths, parts: Iterable[Part]) -> None:
    """Lists finished parts, all of them in one step."""
    with editing(paths) as cell:
        cell[0] = replace(cell[0], parts=(*cell[0].parts, *parts))


def replace_part(paths: StorePaths, part: Part) -> None:
    """Lists a part in place of all earlier ones of its kind and name, then removes their files."""
    with editing(paths) as cell:
        old = cell[0].of(part.kind, part.name)
        kept = tuple(p for p in cell[0].parts if p not in old)
        cell[0] = replace(cell[0], parts=(*kept, part))
    for before in old:
        (paths.root / before.path).unlink(missing_ok=True)


def exchange_parts(paths: StorePaths, exchange: Mapping[str, Sequence[Part]]) -> None:
    """Lists other parts, or none, in the place of each path given, all in one step; files are left alone.

    What others have listed meanwhile stays. Once this has returned, the files that left may be removed.
    """
    with editing(paths) as cell:
        parts = [new for part in cell[0].parts for new in exchange.get(part.path, (part,))]
        cell[0] = replace(cell[0], parts=tuple(parts))


def put_in_force(paths: StorePaths, name: str, fingerprint: str) -> None:
    """Says which settings' parts of a bank or family count from now on; older parts stay on disk."""
    with editing(paths) as cell:
        cell[0] = replace(cell[0], current={**cell[0].current, name: fingerprint})


def next_number(paths: StorePaths, folder: Path, suffix: str, tag: str = "") -> int:
    """One more than the highest number of the files ``*-00012<suffix>`` of a folder, listed or there.

    tag   whose files count, ``3of8`` of ``*-3of8-00012<suffix>``: workers side by side each have their own
          names; "" = those without a tag

    A listed file that was deleted keeps its number: a new one of its name would be listed twice.
    """
    listed = [paths.root / part.path for part in load_manifest(paths).parts]
    files = [*folder.glob(f"*{suffix}"), *(path for path in listed if path.parent == folder)]
    names = [_part_name(path) for path in files if path.suffix == suffix]
    return max((name.number for name in names if name is not None and name.tag == tag), default=-1) + 1


def part_file(stem: str, number: int, suffix: str, tag: str = "") -> str:
    """The name of a part: ``part-00012.parquet``, with a tag ``part-3of8-00012.parquet``."""
    name = f"{stem}-{tag}-{number:05d}{suffix}" if tag else f"{stem}-{number:05d}{suffix}"
    assert _part_name(Path(name)) == _PartName(tag, number)
    return name


class _PartName(NamedTuple):
    tag: str
    number: int


def _part_name(path: Path) -> _PartName | None:
    """Tag and number of ``*-3of8-00012.parquet``; None where the name is not a part's."""
    match = _PART_NAME.fullmatch(path.stem) if path.suffix in _PART_SUFFIXES else None
    return _PartName(match[1] or "", int(match[2])) if match else None


def find_leftovers(paths: StorePaths) -> list[Path]:
    """Files of a store that its manifest does not list: what a killed writer left. Nothing reads them.

    A file that no writer would have named so is none of them.
    """
    listed = {paths.root / part.path for part in load_manifest(paths).parts}
    folders = (paths.rationales, paths.quarantine, paths.root / "banks", paths.vectors, paths.index)
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    finished = [path for path in files if _part_name(path) is not None and path not in listed]
    unfinished = [path for path in [*paths.root.glob(f"*{TEMPORARY}*"), *files] if TEMPORARY in path.name]
    return [*finished, *unfinished]


def remove_leftovers(paths: StorePaths, tag: str | None = None) -> list[Path]:
    """Removes and returns the leftovers; call it only while holding the store for writing.

    tag   removes only what a killed worker of this tag left: others may be writing theirs right now

    Raises UserError where the manifest is missing beside finished parts (see `require_manifest`).
    """
    # Whoever writes and lists a part while holding this lock, as label vectors are, needs no other.
    with _manifest_lock(paths):
        require_manifest(paths)
        leftovers = [path for path in find_leftovers(paths) if tag is None or part_tag(path) == tag]
        for path in leftovers:
            path.unlink()
    renew_copy(paths)  # a change may have reached it alone, and list what was just removed
    return leftovers


def require_manifest(paths: StorePaths) -> None:
    """Raises UserError where the manifest is missing beside finished parts: it was lost.

    A writer makes it before its first part, so everything would be taken for leftovers.
    """
    if paths.manifest.exists():
        return
    finished = [path for path in find_leftovers(paths) if _part_name(path) is not None]
    if finished:
        raise UserError(
            f"{paths.manifest} is missing, but there are {len(finished)} parts, e.g. {finished[0]}: without "
            f"it they would be removed as leftovers; {RESTORE}"
        )


def part_tag(path: Path) -> str | None:
    """Whose the part is, finished or not; None of a file that belongs to nobody, as the manifest's."""
    name = _part_name(path.with_name(path.name.partition(TEMPORARY)[0]))
    return name.tag if name else None
