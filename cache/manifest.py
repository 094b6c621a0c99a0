"""The list of everything finished in a store. What it does not list does not count.

A part is first written and renamed into place and only then listed here, so a kill at any moment leaves
either a listed whole part or an unlisted leftover that the next writer removes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cache.atomic import TEMPORARY, write_bytes
from cache.errors import UserError
from cache.keys import digest_file, fingerprint
from cache.lock import short_lock
from cache.paths import StorePaths

FORMAT = 1
PartKind = Literal["rationales", "quarantine", "bank", "vectors", "labels", "index"]
_PART_SUFFIXES = {".parquet", ".lmdb", ".faiss"}
# A part's name ends in a number, and where several workers write side by side, first in whose it is.
_PART_NAME = re.compile(r".*?(?:-([0-9]+of[0-9]+))?-([0-9]{5,})")


class OtherFormatError(UserError):
    """A whole manifest of another format than this version's: nothing to repair."""


@dataclass(frozen=True, slots=True)
class Part:
    """One finished file.

    path         relative to the store
    name         bank or vector family; "" for rationales and quarantine
    fingerprint  of the settings that decide the part's contents (a bank's header); "" where rows carry keys
    checksum     blake2b-128 of the file's bytes
    producer     what wrote it: command, version, and whatever else helps to explain it later
    """

    path: str
    kind: PartKind
    name: str
    rows: int
    bytes: int
    checksum: str
    fingerprint: str
    written_at: str
    producer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Parts in the order they were finished; for the same picture a later row replaces an earlier one."""

    format: int = FORMAT
    data_fingerprint: str = ""
    held_out_verbs: tuple[str, ...] = ()
    current: dict[str, str] = field(default_factory=dict)  # bank or vector family -> fingerprint in force
    parts: tuple[Part, ...] = ()

    def of(self, kind: PartKind, name: str = "") -> list[Part]:
        return [part for part in self.parts if part.kind == kind and part.name == name]

    def of_kind(self, kind: PartKind) -> list[Part]:
        return [part for part in self.parts if part.kind == kind]

    def in_force(self, kind: PartKind, name: str) -> list[Part]:
        """The parts of a bank or family that were written with the settings now in force."""
        fingerprint = self.current.get(name)
        return [part for part in self.of(kind, name) if part.fingerprint == fingerprint]


def load_manifest(paths: StorePaths) -> Manifest:
    """Reads the manifest; an absent one is empty. Raises UserError where it is damaged or newer."""
    return _load(paths.manifest)


def load_manifest_copy(paths: StorePaths) -> Manifest:
    """Reads the copy, as `load_manifest` does. It is the manifest's equal, or one change ahead of it."""
    return _load(paths.manifest_copy)


def _load(path: Path) -> Manifest:
    try:
        fields = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Manifest()
    except ValueError as reason:
        raise UserError(
            f"{path} is not JSON ({reason}); it is written all at once, so something else "
            f"changed it: {_RESTORE}"
        ) from None
    recorded = fields.pop("checksum", None) if isinstance(fields, dict) else None
    found, contents = fields.get("format") if isinstance(fields, dict) else None, fingerprint(fields)
    if found != FORMAT:
        # A flipped byte may make any number of the format, but not its checksum.
        raise (OtherFormatError if recorded == contents else UserError)(
            f"{path} has store format {found!r}; this version reads format {FORMAT}: "
            "use the version of mipd-pipe that wrote it, or rebuild the store"
        )
    if recorded != contents:
        raise UserError(
            f"{path} was changed after it was written: its contents have checksum {contents}, "
            f"it records {recorded}; {_RESTORE}"
        )
    try:
        parts = tuple(Part(**part) for part in fields.pop("parts"))
        held_out = tuple(fields.pop("held_out_verbs"))
        return Manifest(parts=parts, held_out_verbs=held_out, **fields)
    except (KeyError, TypeError) as reason:
        raise UserError(
            f"{path} lacks or has an unknown field ({reason}): use the version of mipd-pipe that "
            "wrote it, or rebuild the store"
        ) from None


_RESTORE = "put its copy back with `mipd-pipe inspect repair`, or move the store away and run again"


def _to_json(manifest: Manifest) -> bytes:
    """With a checksum of its own, because it alone says what counts and no other file vouches for it."""
    fields = asdict(manifest)
    return (json.dumps({**fields, "checksum": fingerprint(fields)}, indent=1) + "\n").encode()


def describe_part(
    paths: StorePaths,
    path: Path,
    kind: PartKind,
    rows: int,
    producer: dict[str, Any],
    name: str = "",
    fingerprint: str = "",
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
            _write(paths, _to_json(cell[0]))


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
        try:
            manifest = load_manifest_copy(paths)
        except UserError as reason:
            raise UserError(
                f"the manifest and its copy are both lost or damaged ({reason}): {_GONE}"
            ) from None
        write_bytes(paths.manifest, _to_json(manifest))


_GONE = (
    "nothing else says which parts count; restore one of them from a backup, or move the store away and run "
    "again"
)


def renew_copy(paths: StorePaths) -> bool:
    """Makes the manifest's copy its equal again; False where it was. Raises UserError as `load_manifest`."""
    with _manifest_lock(paths):
        data = _to_json(load_manifest(paths))
        if not paths.manifest.exists() or _is_file_of(paths.manifest_copy, data):
            return False
        write_bytes(paths.manifest_copy, data)
        return True


def _is_file_of(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


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
            f"it they would be removed as leftovers; {_RESTORE}"
        )


def part_tag(path: Path) -> str | None:
    """Whose the part is, finished or not; None of a file that belongs to nobody, as the manifest's."""
    name = _part_name(path.with_name(path.name.partition(TEMPORARY)[0]))
    return name.tag if name else None
