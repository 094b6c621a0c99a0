"""Rationales in Parquet: one row per (image, aspect, polarity, attempt), open to polars, DuckDB and others.

One rule says which rows count: **the newest rows of a picture**, that is those with the request key of its
last row in the manifest's order. Older rows stay readable as earlier versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from cache.keys import fingerprint
from cache.kinds import KINDS, Aspect, Polarity
from cache.manifest import Part, PartKind, add_parts, describe_part, next_number, part_file
from cache.parquet import read_listed, write_table
from cache.paths import StorePaths

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("verb", pa.string(), nullable=False),
        pa.field("aspect", pa.string(), nullable=False),  # glimpse | gaze
        pa.field("polarity", pa.string(), nullable=False),  # positive | negative
        pa.field("attempt", pa.int16(), nullable=False),  # 0 = first
        pa.field("text", pa.string(), nullable=False),
        pa.field("contrast_verb", pa.string(), nullable=False),
        pa.field("contrast_nouns", pa.string(), nullable=False),  # JSON object: role -> WordNet id
        pa.field("status", pa.string(), nullable=False),  # accepted | rejected
        pa.field("judge", pa.string(), nullable=False),  # who judged, with its version
        pa.field("score", pa.int8()),  # 1..5; null where only rules judged
        pa.field("reason", pa.string(), nullable=False),  # why rejected; "" = accepted
        pa.field("request_key", pa.string(), nullable=False),
        pa.field("teacher", pa.string(), nullable=False),
        pa.field("revision", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sampling", pa.string(), nullable=False),  # JSON object
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("tokens_in", pa.int32(), nullable=False),
        pa.field("tokens_out", pa.int32(), nullable=False),
        pa.field("seconds", pa.float32(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
    ]
)
# What names one attempt at one rationale of one version.
_ATTEMPT = ("image", "request_key", "aspect", "polarity", "attempt")
# Left out when the rows of two runs are compared: the clock differs between equal runs.
VOLATILE = ("seconds",)

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),  # data | generate-rationales | embed-teacher
        pa.field("reason", pa.string(), nullable=False),
        pa.field("attempts", pa.int16(), nullable=False),  # how often it was asked for; 0 = never
        pa.field("raw", pa.string(), nullable=False),  # the raw answer, where there was one
        pa.field("request_key", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class RationaleRow:
    """One rationale of one attempt; the fields of `SCHEMA` in its order."""

    image: str
    split: str
    verb: str
    aspect: Aspect
    polarity: Polarity
    attempt: int
    text: str
    contrast_verb: str
    contrast_nouns: str
    status: str
    judge: str
    score: int | None
    reason: str
    request_key: str
    teacher: str
    revision: str
    prompt_id: str
    sampling: str
    seed: int
    tokens_in: int
    tokens_out: int
    seconds: float
    finish_reason: str


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One thing that failed; the fields of `QUARANTINE_SCHEMA` in its order."""

    image: str
    stage: str
    reason: str
    attempts: int
    raw: str
    request_key: str


def append_rationales(
    paths: StorePaths, rows: Sequence[Mapping[str, Any]], producer: dict[str, Any], tag: str = ""
) -> None:
    """Writes one part, all of it or nothing. A picture's rows must all be in the same call.

    tag   names the worker where several write side by side (see `next_number`)
    """
    if rows:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
        add_parts(paths, [_write_part(paths, table, "rationales", producer, tag)])


def append_quarantine(
    paths: StorePaths, rows: Sequence[QuarantineRow], producer: dict[str, Any], tag: str = ""
) -> None:
    """Writes one part of failures, all of it or nothing."""
    if rows:
        table = pa.Table.from_pylist([asdict(row) for row in rows], schema=QUARANTINE_SCHEMA)
        add_parts(paths, [_write_part(paths, table, "quarantine", producer, tag)])


def _write_part(
    paths: StorePaths, table: pa.Table, kind: PartKind, producer: dict[str, Any], tag: str
) -> Part:
    folder = paths.rationales if kind == "rationales" else paths.quarantine
    target = folder / part_file("part", next_number(paths, folder, ".parquet", tag), ".parquet", tag)
    write_table(target, table)
    return describe_part(paths, target, kind, table.num_rows, producer)


def read_rationales(paths: StorePaths, columns: Iterable[str] = SCHEMA.names) -> pl.DataFrame:
    """All rows, oldest first, with two more columns.

    current   the row belongs to the newest version of its picture
    usable    it is current and accepted and no later attempt of its kind was accepted: what training reads

    Raises UserError where a part is missing or damaged.
    """
    wanted = [*dict.fromkeys(columns)]
    needed = [*dict.fromkeys([*wanted, *_ATTEMPT, "status"])]
    frame = _read(paths, "rationales", SCHEMA, needed)
    newest = pl.col("request_key").last().over("image") == pl.col("request_key")
    # A picture that went back to an earlier request key has that key's rows twice: only the copy counts.
    frame = frame.with_columns(current=newest & pl.struct(_ATTEMPT).is_last_distinct())
    # In a step of its own: a window within a window takes 3 s for 300,000 rows, two after each other 0.6 s.
    accepted = pl.col("current") & (pl.col("status") == "accepted")
    last_accepted = pl.when(accepted).then("attempt").max().over("image", "aspect", "polarity")
    usable = accepted & (pl.col("attempt") == last_accepted)
    return frame.with_columns(usable=usable).select(*wanted, "current", "usable")


def read_quarantine(paths: StorePaths) -> pl.DataFrame:
    """The newest failure of each (image, stage), oldest first; a later success does not remove it here."""
    frame = _read(paths, "quarantine", QUARANTINE_SCHEMA, QUARANTINE_SCHEMA.names)
    return frame.unique(["image", "stage"], keep="last", maintain_order=True)


def _read(paths: StorePaths, kind: PartKind, schema: pa.Schema, columns: list[str]) -> pl.DataFrame:
    frame = pl.from_arrow(read_listed(paths, lambda manifest: manifest.of(kind), schema, columns))
    assert isinstance(frame, pl.DataFrame)
    return frame


def usable_texts(paths: StorePaths, images: Iterable[str]) -> dict[str, tuple[str, str, str, str]]:
    """The four texts training reads of each given picture that has rows, ordered as `KINDS`.

    "" = none was accepted, which may be true of all four: what was embedded of an earlier version must go.
    """
    columns = ["image", "aspect", "polarity", "text"]
    frame = read_rationales(paths, columns)
    chosen = frame.filter(pl.col("current") & pl.col("image").is_in(list(images)))
    texts = {image: [""] * len(KINDS) for image in chosen["image"].unique(maintain_order=True)}
    position = {(kind.aspect, kind.polarity): i for i, kind in enumerate(KINDS)}
    for image, aspect, polarity, text in chosen.filter("usable").select(columns).iter_rows():
        texts[image][position[aspect, polarity]] = text
    return {image: (four[0], four[1], four[2], four[3]) for image, four in texts.items()}


def texts_key(bank: str, texts: Sequence[str]) -> str:
    """Row key of the four texts in a bank: its header's fingerprint and the texts decide all of the row."""
    return fingerprint([bank, *texts])


def copy_version(
    paths: StorePaths, wanted: Mapping[str, str], producer: dict[str, Any], tag: str = ""
) -> None:
    """Makes earlier versions current again without asking a teacher: appends copies of their rows.

    `wanted` maps each picture to the request key to bring back; its rows must exist.
    """
    if not wanted:
        return
    frame = read_rationales(paths).drop("current", "usable")
    keys = pl.DataFrame({"image": list(wanted), "request_key": list(wanted.values())})
    rows = frame.join(keys, on=["image", "request_key"], how="semi", maintain_order="left")
    rows = rows.unique(_ATTEMPT, keep="last", maintain_order=True)
    append_rationales(paths, rows.to_dicts(), producer, tag)
