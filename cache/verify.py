"""Proves a store whole: files, checksums, counts, joins, and that nothing held out is read in training."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cache.bank_header import read_header
from cache.bank_reader import BankReader
from cache.errors import UserError
from cache.index import index_ids, require_faiss
from cache.keys import digest_file
from cache.kinds import KINDS
from cache.manifest import Manifest, Part, load_manifest, load_manifest_copy
from cache.parquet import read_parts
from cache.paths import StorePaths
from cache.rationales import SCHEMA, read_rationales, texts_key, usable_texts
from cache.read_threads import in_order
from cache.row_checks import CHECKED, row_faults
from cache.shard_keys import shards_in_force
from cache.vectors import PICTURES, RATIONALES, VectorKey, read_vectors, vector_schema

# Given a usable rationale's row, the held-out verb that it names, or None.
LeakRule = Callable[[Mapping[str, Any]], str | None]

_KIND = ("aspect", "polarity")
_RERUN = "run `mipd-pipe embed-teacher`"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the file relative to the store, the key in it ("" = all of it), and why.

    version   request key of the rationale rows that are meant; None = not of rationale rows
    """

    file: str
    key: str
    reason: str
    version: str | None = field(default=None, compare=False)


def verify(
    paths: StorePaths,
    fast: bool = False,
    advance: Callable[[int], None] = lambda _: None,
    leak: LeakRule | None = None,
    trained: Collection[str] | None = None,
    pictures: Collection[str] | None = None,
) -> list[Fault]:
    """All faults of a store; an empty list means that everything listed is whole and fits together.

    fast      skips the payload checksums
    advance   is told the bytes read
    leak      default: a held-out verb is named wherever it stands as a word, be it in "rocking chair"
    trained   pictures whose rationales training reads; default: all. Rows of a picture that left the training
              set stay in the store
    pictures  all pictures of the data set: a bank that holds none of them is of another one. Default: any

    Raises UserError where the manifest is missing or damaged, or FAISS is needed and not installed.
    """
    manifest = load_manifest(paths.require())
    faults: list[Fault] = []
    with closing(in_order(lambda part: _file_faults(paths, part, fast), manifest.parts)) as found:
        for part, of_file in zip(manifest.parts, found, strict=True):
            faults += of_file
            advance(part.bytes)
    faults += _header_faults(paths, _names(manifest, "bank"))
    copy = _copy_faults(paths)
    if faults:  # joins between files that are known to be damaged would only repeat it
        return faults + copy
    if any(part.kind == "index" for part in manifest.parts):
        require_faiss()
    joins = [("rationales", _rationale_faults(paths, manifest, leak, trained))]
    joins += [
        (f"banks/{name}", _bank_faults(paths, manifest, name, pictures)) for name in _names(manifest, "bank")
    ]
    joins += [
        (f"index/{family}", _index_faults(paths, manifest, family)) for family in _names(manifest, "vectors")
    ]
    return [fault for file, found in joins for fault in _readable(file, found)] + copy


def _header_faults(paths: StorePaths, banks: Iterable[str]) -> Iterator[Fault]:
    for name in banks:
        try:
            read_header(paths, name)
        except UserError as reason:
            yield Fault(f"banks/{name}", "", str(reason))


def _copy_faults(paths: StorePaths) -> list[Fault]:
    """Damage of the manifest's copy; a store of an earlier version may have none."""
    try:
        load_manifest_copy(paths)
    except UserError as reason:
        return [Fault(paths.manifest_copy.name, "", str(reason))]
    return []


def _names(manifest: Manifest, kind: str) -> list[str]:
    return sorted({part.name for part in manifest.parts if part.kind == kind})


def _readable(file: str, faults: Iterable[Fault]) -> Iterator[Fault]:
    try:
        yield from faults
    except UserError as reason:
        yield Fault(file, "", str(reason))


def _file_faults(paths: StorePaths, part: Part, fast: bool) -> list[Fault]:
    """What is wrong with one file by itself."""
    reason = _file_fault(paths.root / part.path, part, fast)
    return [Fault(part.path, "", reason)] if reason else []


def _file_fault(path: Path, part: Part, fast: bool) -> str | None:
    if not path.exists():
        return "listed in the manifest but missing"
    if path.stat().st_size != part.bytes:
        return f"has {path.stat().st_size} bytes, the manifest says {part.bytes}"
    if not fast and digest_file(path) != part.checksum:
        return f"contents do not match the manifest's checksum {part.checksum}"
    if path.suffix == ".parquet":
        return _parquet_fault(path, part)
    return None


def _parquet_fault(path: Path, part: Part) -> str | None:
    try:
        rows = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as reason:
        return f"is no whole Parquet file ({reason})"
    return None if rows == part.rows else f"has {rows} rows, the manifest says {part.rows}"


def _rationale_faults(
    paths: StorePaths, manifest: Manifest, leak: LeakRule | None, trained: Collection[str] | None
) -> Iterator[Fault]:
    """Rows that cannot be what stage one wrote, then those that show training a held-out verb."""
    parts = manifest.of("rationales")
    for part in parts:
        frame = pl.from_arrow(read_parts(paths, [part], SCHEMA, list(CHECKED)))
        assert isinstance(frame, pl.DataFrame)
        for number, reason in row_faults(frame):
            image, version = frame["image"][number], frame["request_key"][number]
            yield Fault(part.path, image, f"row {number} {reason}", version)
    # A row's part follows from its number, because parts were just found to have the rows that are listed.
    part_of = [part.path for part in parts for _ in range(part.rows)]
    yield from _leaks(paths, part_of, manifest.held_out_verbs, leak, trained)


def _leaks(
    paths: StorePaths,
    part_of: Sequence[str],
    held_out: Iterable[str],
    leak: LeakRule | None,
    trained: Collection[str] | None,
) -> Iterator[Fault]:
    """Usable rationales that show training a held-out verb; `part_of` names the part of each row."""
    verbs = frozenset(held_out)
    if not verbs:
        return
    named = leak or _word_rule(verbs)
    columns = ["image", "verb", "contrast_verb", "contrast_nouns", "text", *_KIND, "request_key"]
    frame = read_rationales(paths, columns).with_row_index("row")
    for row in frame.filter("usable").iter_rows(named=True):
        if trained is not None and row["image"] not in trained:
            continue
        found = next((verb for verb in (row["verb"], row["contrast_verb"]) if verb in verbs), None)
        if verb := found or named(row):
            reason = f"{row['polarity']} {row['aspect']} names held-out verb {verb!r}"
            yield Fault(part_of[row["row"]], row["image"], reason, row["request_key"])


def _word_rule(verbs: Iterable[str]) -> LeakRule:
    # A hyphen joins: "running-toward-waving" is a verb of its own and does not name "running-toward".
    names = "|".join(map(re.escape, sorted(verbs)))
    pattern = re.compile(rf"(?<![\w-])({names})(?![\w-])", re.IGNORECASE)

    def rule(row: Mapping[str, Any]) -> str | None:
        found = pattern.search(row["text"])
        return found.group().lower() if found else None

    return rule


def _bank_faults(
    paths: StorePaths, manifest: Manifest, name: str, pictures: Collection[str] | None
) -> Iterator[Fault]:
    bank = BankReader(paths, name)
    for image in bank.images:
        try:
            bank.require_row(image)  # its bytes were held against the checksum, or are not to be read
        except UserError as damage:
            bank.close()  # its shard is opened once more, to be named
            yield Fault(shards_in_force(paths, manifest, name)[image], image, str(damage))
    bank.close()
    if pictures is not None and len(bank) and not any(image in pictures for image in bank.images):
        reason = f"none of the bank's {len(bank)} pictures is in the data set: it is of another picture set"
        yield from (Fault(part.path, "", reason) for part in manifest.in_force("bank", name))
        return
    # Pooled vectors carry the fingerprint of the bank that they were pooled from.
    families = [f for f in (PICTURES, RATIONALES) if manifest.current.get(f) == bank.header.fingerprint]
    for family in families:
        keys = [VectorKey(image) for image in bank.images]
        if family == RATIONALES:
            texts = usable_texts(paths, bank.images)
            yield from _text_faults(bank, texts)
            keys = _text_keys(texts)
        yield from _pooled_faults(paths, bank, family, keys)


def _text_faults(bank: BankReader, texts: Mapping[str, Sequence[str]]) -> Iterator[Fault]:
    """Rows that were embedded from other texts than training should read."""
    for image, row_key in bank.row_keys.items():
        if image not in texts or row_key != texts_key(bank.header.fingerprint, texts[image]):
            reason = f"was embedded from other texts than the rationales now accepted; {_RERUN}"
            yield Fault(f"banks/{bank.header.name}", image, reason)


def _text_keys(texts: Mapping[str, Sequence[str]]) -> list[VectorKey]:
    """The vectors that rows of these texts should have."""
    return [
        VectorKey(image, *kind)
        for image, four in texts.items()
        for kind, text in zip(KINDS, four, strict=True)
        if text
    ]


def _pooled_faults(
    paths: StorePaths, bank: BankReader, family: str, keys: Iterable[VectorKey]
) -> Iterator[Fault]:
    """Rows that lack their vectors, and vectors of another version of a row than the bank has."""
    columns = ["image", "aspect", "polarity", "row_key"]
    vectors = read_vectors(paths, family, with_vectors=False).select(columns)
    found = {VectorKey(*key): row_key for *key, row_key in vectors.iter_rows()}
    name = bank.header.name
    for key in keys:
        if key not in found:
            what = f"{key.polarity} {key.aspect}".strip() or "picture"
            reason = f"the {what} has a row in bank {name!r} but no vector; {_RERUN}"
            yield Fault(f"vectors/{family}", key.image, reason)
    for key, row_key in found.items():
        if bank.row_keys.get(key.image) != row_key:
            reason = f"is of another version of the picture than its row in bank {name!r}; {_RERUN}"
            yield Fault(f"vectors/{family}", key.image, reason)


def _index_faults(paths: StorePaths, manifest: Manifest, family: str) -> Iterator[Fault]:
    columns = ["id", "image", "aspect", "polarity"]
    for part in manifest.in_force("vectors", family):
        rows = read_parts(paths, [part], vector_schema(1), columns).to_pydict()
        for id_, *key in zip(*(rows[name] for name in columns), strict=True):
            if VectorKey(*key).id != id_:
                yield Fault(part.path, key[0], f"vector id {id_} is not the id of its key")
    indexed = set(index_ids(paths, family).tolist())
    expected = set(read_vectors(paths, family, with_vectors=False)["id"].to_list())
    if indexed != expected:
        missing, unknown = len(expected - indexed), len(indexed - expected)
        reason = f"{missing} vectors are not in it, {unknown} of its vectors are unknown; {_RERUN}"
        yield Fault(f"index/{family}", "", reason)
