"""Brings exported rationales back into a store as they were, with their request keys and verdicts."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cache.errors import UserError
from cache.export import MARK, VERSION, Form
from cache.lock import writer_lock
from cache.manifest import editing, remove_leftovers
from cache.paths import StorePaths
from cache.rationales import SCHEMA, append_rationales, read_rationales
from cache.row_checks import json_faults, row_faults
from cache.verify import LeakRule

_ATTEMPT = ["image", "request_key", "aspect", "polarity", "attempt"]
_TOLD = 10  # bad rows named in a message
_PICTURES_PER_PART = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """The data set of the store that is written to.

    leak   given an accepted row, the held-out verb that it names, or None
    """

    data_fingerprint: str
    held_out_verbs: tuple[str, ...]
    pictures: Collection[str]
    leak: LeakRule


@dataclass(frozen=True, slots=True)
class Import:
    """What came of it.

    added      rows that the store did not have
    skipped    rows that it had already, or that stand twice in what is imported
    foreign    rows of pictures that are not in the data set, left out because it was forced
    replaced   pictures that had another version before, which is now an earlier one
    """

    added: int
    skipped: int
    foreign: int
    pictures: int
    replaced: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one file, and of which data set it says they are; None = it does not say."""

    file: Path
    frame: pl.DataFrame
    fingerprint: str | None


def import_rows(
    paths: StorePaths, path: Path, form: Form, target: Target, producer: dict[str, Any], force: bool = False
) -> Import:
    """Adds the rows of an exported folder, or of one file of it. An imported version becomes the newest.

    force   rows of another data set are taken all the same, as far as its pictures are in this one

    Raises UserError where nothing can be read, a row is not what a store holds, names a held-out verb, or is
    of another data set; then nothing at all is imported. Otherwise raises as every writer of a store does.
    """
    found = [_read_tar(file) if form == "webdataset" else _read_parquet(file) for file in _files(path, form)]
    if not force:
        _require_same_data(found, target)
    _require_good_rows(found, target, force)
    frame = pl.concat([rows.frame for rows in found])
    known = frame.filter(pl.col("image").is_in(list(target.pictures)))
    with writer_lock(paths.root, "inspect import"):
        remove_leftovers(paths)
        _describe(paths, target)
        there = read_rationales(paths, _ATTEMPT)
        wanted = known.unique(_ATTEMPT, keep="last", maintain_order=True)
        new = wanted.join(there, on=_ATTEMPT, how="anti", maintain_order="left")
        current = there.filter("current").select("image", "request_key").unique()
        others = current.join(new.select("image", "request_key").unique(), on="image", suffix="_new")
        replaced = others.filter(pl.col("request_key") != pl.col("request_key_new"))["image"].n_unique()
        for rows in _by_pictures(new):
            append_rationales(paths, rows, {**producer, "command": "inspect import"})
    foreign = frame.height - known.height
    return Import(new.height, known.height - new.height, foreign, new["image"].n_unique(), replaced)


def _files(path: Path, form: Form) -> list[Path]:
    suffix = ".tar" if form == "webdataset" else ".parquet"
    if path.is_file():
        return [path]
    files = sorted(path.glob(f"data/*{suffix}" if form == "hf" else f"*{suffix}"))
    if not files:
        inside = path / "data" if form == "hf" else path
        raise UserError(
            f"no *{suffix} file in {inside}: give the folder that `mipd-pipe inspect export --to {form}` "
            "wrote, or one file of it"
        )
    return files


def _read_parquet(file: Path) -> _Rows:
    try:
        with pq.ParquetFile(file) as opened:
            names, metadata = opened.schema_arrow.names, opened.schema_arrow.metadata or {}
            _require_columns(file, names)
            table = opened.read(columns=SCHEMA.names).select(SCHEMA.names)
    except (OSError, pa.ArrowException) as reason:
        raise UserError(f"{file} cannot be read as Parquet ({reason})") from None
    try:
        mark = json.loads(metadata.get(MARK.encode(), b"null"))
    except ValueError as reason:
        raise UserError(f"{file}: its metadata {MARK!r} is no JSON ({reason})") from None
    return _Rows(file, _typed(table, str(file)), _fingerprint(mark, str(file)))


def _require_columns(file: Path, names: Iterable[str]) -> None:
    if missing := [name for name in SCHEMA.names if name not in set(names)]:
        raise UserError(
            f"{file} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}: it is no export "
            "of a store; texts of your own come in with teacher.engine: jsonl"
        )


def _read_tar(file: Path) -> _Rows:
    frames, marks = [], set()
    for place, told in _json_members(file):
        rows = told.get("rationales") if isinstance(told, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{place} holds no list of rationales: it is no export of a store")
        for row in rows[:1]:
            _require_columns(Path(place), row)
        try:
            table = pa.Table.from_pylist(rows, pa.schema([field.with_nullable(True) for field in SCHEMA]))
        except (pa.ArrowException, OverflowError) as reason:
            raise UserError(f"{place} holds a value of another type than the store's ({reason})") from None
        frames.append(_typed(table, place))
        marks.add(_fingerprint(told.get(MARK), place))
    if not frames:
        raise UserError(f"{file} holds no KEY.json: it is no export of a store")
    return _Rows(file, pl.concat(frames), marks.pop() if len(marks) == 1 else None)


def _json_members(file: Path) -> Iterator[tuple[str, Any]]:
    """Place and contents of every JSON file; nothing is unpacked to the disk."""
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                if member.isfile() and member.name.endswith(".json"):
                    opened = tar.extractfile(member)
                    assert opened is not None
                    yield f"{file}/{member.name}", json.loads(opened.read())
    except (OSError, tarfile.TarError, ValueError) as reason:
        raise UserError(f"{file} cannot be read as a tar of JSON files ({reason})") from None


def _fingerprint(mark: Any, place: str) -> str | None:
    """Of the data set that the rows say they are of. Raises UserError where the layout is a later one."""
    if not isinstance(mark, dict):
        return None
    if mark.get("version") != VERSION:
        raise UserError(
            f"{place} was exported in layout {mark.get('version')!r}; this version reads layout {VERSION}: "
            "use the version of mipd-pipe that wrote it"
        )
    return str(mark.get("data_fingerprint"))


def _typed(table: pa.Table, place: str) -> pl.DataFrame:
    """In the store's types, as far as no value is changed by that."""
    for field in SCHEMA:
        column = table[field.name]
        if not field.nullable and column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise UserError(f"{place}: row {row} has no {field.name}; nothing was imported")
    try:
        frame = pl.from_arrow(table.cast(SCHEMA))
    except (pa.ArrowException, ValueError) as reason:
        raise UserError(f"{place} has columns of other types than a store's ({reason})") from None
    assert isinstance(frame, pl.DataFrame)
    return frame


def _require_same_data(found: Iterable[_Rows], target: Target) -> None:
    for rows in found:
        if rows.fingerprint != target.data_fingerprint:
            said = (
                f"is of data set {rows.fingerprint}" if rows.fingerprint else "does not say of which data set"
            )
            raise UserError(
                f"{rows.file} {said}, this one is {target.data_fingerprint}: annotations, vocabulary or "
                "splits differ, so that its texts may say what is wrong here; import it all the same with "
                "--force"
            )


def _require_good_rows(found: Iterable[_Rows], target: Target, force: bool) -> None:
    bad = [line for rows in found for line in _bad_rows(rows, target, force)]
    if bad:
        more = f"\n  and {len(bad) - _TOLD} more" if len(bad) > _TOLD else ""
        raise UserError(
            f"{len(bad)} rows cannot be imported, so nothing was:\n"
            + "\n".join(f"  {line}" for line in bad[:_TOLD])
            + more
        )


def _bad_rows(rows: _Rows, target: Target, force: bool) -> list[str]:
    frame = rows.frame
    faults = [*row_faults(frame), *json_faults(frame)]
    if not force:
        unknown = frame.with_row_index("row").filter(~pl.col("image").is_in(list(target.pictures)))
        faults += [(row, "is of no picture of this data set") for row in unknown["row"]]
    broken = {row for row, _ in faults}
    for number, row in enumerate(frame.iter_rows(named=True)):
        if number not in broken and row["status"] == "accepted" and (verb := _leaked(row, target)):
            faults.append((number, f"names held-out verb {verb!r}"))
    return [f"{rows.file}: row {row} ({frame['image'][row]}) {reason}" for row, reason in sorted(faults)]


def _leaked(row: Mapping[str, Any], target: Target) -> str | None:
    held_out = frozenset(target.held_out_verbs)
    found = next((verb for verb in (row["verb"], row["contrast_verb"]) if verb in held_out), None)
    return found or (target.leak(row) if row["image"] in target.pictures else None)


def _describe(paths: StorePaths, target: Target) -> None:
    """A new store is of the target's data set."""
    with editing(paths) as cell:
        if not cell[0].parts:
            fingerprint, held_out = target.data_fingerprint, target.held_out_verbs
            cell[0] = replace(cell[0], data_fingerprint=fingerprint, held_out_verbs=held_out)


def _by_pictures(frame: pl.DataFrame) -> Iterator[list[dict[str, Any]]]:
    """All rows of some pictures at a time, in the order given."""
    images = frame["image"].unique(maintain_order=True)
    for start in range(0, len(images), _PICTURES_PER_PART):
        chosen = images.slice(start, _PICTURES_PER_PART)
        yield frame.filter(pl.col("image").is_in(chosen.implode())).to_dicts()
