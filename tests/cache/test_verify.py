"""A whole store has no faults; each kind of damage is found and named."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cache.codec import encode
from cache.errors import UserError
from cache.index import build_index
from cache.keys import derive_number, digest_file
from cache.kinds import KINDS
from cache.manifest import editing, load_manifest
from cache.paths import StorePaths
from cache.rationales import append_rationales
from cache.shards import Shard
from cache.vectors import PICTURES, RATIONALES, VectorKey
from cache.verify import Fault, verify
from tests.cache.small_store import (
    IMAGES,
    PRODUCER,
    TEXT,
    VISION,
    bank_header,
    embed_pictures,
    embed_texts,
    four,
    noise,
    pool,
    row,
    small_store,
    write_shard,
)

OFFSETS = 40  # flipped bytes of each file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    """A whole store; a test that changes it puts it back."""
    return small_store(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def store(whole: StorePaths, tmp_path: Path) -> StorePaths:
    """A copy to change."""
    shutil.copytree(whole.root, tmp_path / "store")
    return StorePaths(tmp_path / "store")


def files_of(paths: StorePaths) -> list[Path]:
    return sorted(path for path in paths.root.rglob("*") if path.is_file() and path.suffix != ".lock")


def listed(paths: StorePaths, kind: str, name: str = "") -> Path:
    """The newest file of a kind."""
    parts = [part for part in load_manifest(paths).parts if part.kind == kind and part.name == name]
    return paths.root / parts[-1].path


def relist(paths: StorePaths, file: Path, **changes: Any) -> None:
    """Lists a file that was changed as it now is, so that its checksum is right."""
    name = file.relative_to(paths.root).as_posix()
    changes = {"bytes": file.stat().st_size, "checksum": digest_file(file), **changes}
    with editing(paths) as cell:
        parts = tuple(replace(part, **changes) if part.path == name else part for part in cell[0].parts)
        cell[0] = replace(cell[0], parts=parts)


@pytest.mark.parametrize("fast", [False, True])
def test_a_whole_store_has_no_faults(whole: StorePaths, fast: bool) -> None:
    assert verify(whole, fast) == []


def test_the_bytes_read_are_told(whole: StorePaths) -> None:
    told: list[int] = []
    verify(whole, advance=told.append)
    assert told == [part.bytes for part in load_manifest(whole).parts]


def test_a_store_of_rationales_alone_is_whole(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    append_rationales(paths, four(IMAGES[0]), PRODUCER)
    assert verify(paths) == []


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store at"):
        verify(StorePaths(tmp_path))


def flips(data: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """The file with one bit of one byte changed: at both ends and at many places between."""
    spread = (derive_number(name, i) % len(data) for i in range(OFFSETS - 4))
    for offset in [0, 1, len(data) - 2, len(data) - 1, *spread]:
        changed = bytearray(data)
        changed[offset] ^= 1 << derive_number(name, offset, bits=8) % 8
        yield offset, bytes(changed)


def test_a_flipped_byte_is_found_in_every_file(whole: StorePaths) -> None:
    """Listed files by their checksum; the manifest by its own; headers by their fingerprint."""
    parts = {part.path for part in load_manifest(whole).parts}
    assert len(files_of(whole)) == len(parts) + 4, "manifest, copy and two headers are not listed"
    for file in files_of(whole):
        name = file.relative_to(whole.root).as_posix()
        data = file.read_bytes()
        for offset, changed in flips(data, name):
            file.write_bytes(changed)
            if file == whole.manifest:
                with pytest.raises(UserError, match=r"manifest\.json"):
                    verify(whole)
                continue
            faults = verify(whole)
            assert faults, f"{name}, byte {offset}"
            if name in parts or file == whole.manifest_copy:
                assert [(fault.file, fault.key) for fault in faults] == [(name, "")], f"byte {offset}"
                assert ("do not match the manifest's checksum" in faults[0].reason) == (name in parts)
            else:
                assert [fault.file for fault in faults] == [f"banks/{file.parent.name}"], f"byte {offset}"
                assert str(file) in faults[0].reason
        file.write_bytes(data)
    assert verify(whole) == []


def test_fast_mode_skips_the_checksums_alone(store: StorePaths) -> None:
    bank = listed(store, "bank", VISION)
    data = bytearray(bank.read_bytes())
    data[data.index(encode(noise(3, 8, seed=IMAGES[3]), "bf16"))] ^= 1
    bank.write_bytes(data)
    assert verify(store, fast=True) == []
    assert [fault.file for fault in verify(store)] == [bank.relative_to(store.root).as_posix()]


@pytest.mark.parametrize("fast", [False, True])
def test_every_byte_of_a_bank_is_read_once_and_in_fast_mode_never(
    whole: StorePaths, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real bank is larger than memory: a second reading would double the hours."""

    def read(*_: object) -> None:
        raise AssertionError("a row's payload was read")

    monkeypatch.setattr(Shard, "read", read)
    digested: list[str] = []

    def digest(path: Path) -> str:
        digested.append(path.name)
        return digest_file(path)

    monkeypatch.setattr("cache.verify.digest_file", digest)
    assert verify(whole, fast) == []
    expected = [] if fast else [Path(part.path).name for part in load_manifest(whole).parts]
    assert sorted(digested) == sorted(expected)


def test_a_stopped_verification_ends_its_threads(whole: StorePaths) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(whole, advance=stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("file-reader")]


@pytest.mark.parametrize("fast", [False, True])
def test_every_missing_file_is_named(store: StorePaths, fast: bool) -> None:
    for part in load_manifest(store).parts:
        (store.root / part.path).unlink()
    expected = [
        Fault(part.path, "", "listed in the manifest but missing") for part in load_manifest(store).parts
    ]
    assert verify(store, fast) == expected


@pytest.mark.parametrize("fast", [False, True])
def test_every_truncated_file_is_named(store: StorePaths, fast: bool) -> None:
    parts = load_manifest(store).parts
    for part in parts:
        os.truncate(store.root / part.path, part.bytes - 1)
    expected = [
        Fault(part.path, "", f"has {part.bytes - 1} bytes, the manifest says {part.bytes}") for part in parts
    ]
    assert verify(store, fast) == expected


@pytest.mark.parametrize("kind", ["rationales", "quarantine"])
def test_fast_mode_finds_what_is_no_parquet(store: StorePaths, kind: str) -> None:
    part = listed(store, kind)
    part.write_bytes(b"x" * part.stat().st_size)
    (fault,) = verify(store, fast=True)
    assert fault.file == part.relative_to(store.root).as_posix()
    assert fault.reason.startswith("is no whole Parquet file (")


def test_fast_mode_names_a_part_that_cannot_be_decoded(store: StorePaths) -> None:
    """The pages of a column, which its metadata does not show to be damaged."""
    part = listed(store, "rationales")
    column = pq.read_metadata(part).row_group(0).column(0)
    data = bytearray(part.read_bytes())
    for i in range(column.total_compressed_size):
        data[column.dictionary_page_offset + i] ^= 0xFF
    part.write_bytes(data)
    faults = verify(store, fast=True)
    assert faults[0].file == "rationales"
    assert f"part {part} cannot be read" in faults[0].reason


def test_a_wrong_number_of_rows_is_named(store: StorePaths) -> None:
    part, bank = listed(store, "rationales"), listed(store, "bank", VISION)
    relist(store, part, rows=8)
    assert verify(store) == [Fault("rationales/part-00001.parquet", "", "has 9 rows, the manifest says 8")]
    relist(store, part, rows=9)
    relist(store, bank, rows=2)
    (fault,) = verify(store)
    assert (fault.file, fault.key) == (f"banks/{VISION}", "")
    assert f"{bank} cannot be read (it has 1 rows, the manifest says 2)" in fault.reason


def test_a_missing_header_is_named(store: StorePaths) -> None:
    header = next(store.bank(TEXT).glob("*.json"))
    header.unlink()
    (fault,) = verify(store)
    assert fault.file == f"banks/{TEXT}"
    assert str(header) in fault.reason


@pytest.mark.parametrize(
    ("changes", "verb"),
    [
        ({"text": "She lies there, Sleeping."}, "sleeping"),
        ({"text": "two men water skiing"}, "water skiing"),
        ({"verb": "sleeping"}, "sleeping"),
        ({"contrast_verb": "sleeping"}, "sleeping"),
    ],
)
def test_a_held_out_verb_in_an_accepted_rationale_is_named(
    store: StorePaths, changes: Mapping[str, Any], verb: str
) -> None:
    rows = four(IMAGES[0], "new")
    rows[3] |= changes
    append_rationales(store, rows, PRODUCER)
    embed_texts(store)
    part = listed(store, "rationales").relative_to(store.root).as_posix()
    assert verify(store) == [Fault(part, IMAGES[0], f"negative gaze names held-out verb {verb!r}")]


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "sleeping", "status": "rejected"},
        {"text": "an oversleeping man, water and skiing"},
        {"text": "sleepings"},
        {"text": "verbs of their own: sleeping-beside, half-sleeping"},
    ],
)
def test_what_training_does_not_read_or_no_held_out_word_is_no_leak(
    store: StorePaths, changes: Mapping[str, Any]
) -> None:
    append_rationales(store, [row(IMAGES[0], KINDS[0], "new", **changes)], PRODUCER)
    embed_texts(store)
    assert verify(store) == []


def test_a_leak_in_an_earlier_version_is_none(store: StorePaths) -> None:
    append_rationales(store, four(IMAGES[0], "new", text="sleeping"), PRODUCER)
    append_rationales(store, four(IMAGES[0], "newer"), PRODUCER)
    embed_texts(store)
    assert verify(store) == []


def test_a_rule_that_knows_the_annotation_takes_the_place_of_the_words(store: StorePaths) -> None:
    """A "sleeping bag" is no sleeping, but only whoever knows the picture's nouns can tell."""
    append_rationales(store, four(IMAGES[0], "new", text="a man in a sleeping bag"), PRODUCER)
    embed_texts(store)
    assert len(verify(store)) == 4
    seen: list[Mapping[str, Any]] = []

    def rule(row: Mapping[str, Any]) -> str | None:
        seen.append(row)
        return "sleeping" if row["image"] == IMAGES[1] else None

    assert {fault.key for fault in verify(store, leak=rule)} == {IMAGES[1]}
    assert len(seen) == 16
    assert {"image", "contrast_nouns", "text"} <= seen[0].keys()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"request_key": ""}, "row 2 has no request key"),
        ({"polarity": "glimpse"}, "row 2 is of no known aspect (glimpse, gaze) and polarity"),
        ({"attempt": -1}, "row 2 has a negative attempt"),
        ({"status": "maybe"}, "row 2 has a status other than accepted and rejected"),
        ({"text": ""}, "row 2 is accepted but has no text"),
        ({"score": 6}, "row 2 has a score other than 1 to 5"),
    ],
)
def test_a_row_that_no_writer_writes_is_named_by_part_and_picture(
    store: StorePaths, changes: Mapping[str, Any], reason: str
) -> None:
    rows = four("new.jpg")
    rows[2] |= changes
    append_rationales(store, rows, PRODUCER)
    (fault,) = verify(store)
    assert (fault.file, fault.key) == ("rationales/part-00002.parquet", "new.jpg")
    assert fault.reason.startswith(reason)


def test_a_bank_of_another_picture_set_is_named(store: StorePaths) -> None:
    write_shard(store, bank_header("teacher-vision"), {"a.jpg": noise(3, 8), "b.jpg": noise(3, 8)})
    shard = listed(store, "bank", "teacher-vision").relative_to(store.root).as_posix()
    reason = "none of the bank's 2 pictures is in the data set: it is of another picture set"
    assert verify(store, pictures=IMAGES) == [Fault(shard, "", reason)]
    assert verify(store, pictures=[*IMAGES, "b.jpg"]) == [], "pictures may leave a data set"


def test_a_row_of_other_dimensions_is_named_by_its_shard(store: StorePaths) -> None:
    """A shard of another bank that was put in the place of this one's and listed as if it were its own."""
    write_shard(store, bank_header("teacher-vision", shape=(4, 8)), {IMAGES[3]: noise(4, 8)})
    shard = listed(store, "bank", VISION)
    shutil.copy(listed(store, "bank", "teacher-vision"), shard)
    relist(store, shard)
    fault = verify(store)[0]
    assert (fault.file, fault.key) == (shard.relative_to(store.root).as_posix(), IMAGES[3])
    assert "has 128 bytes, the header says 48" in fault.reason


def test_texts_that_changed_since_they_were_embedded_are_named(store: StorePaths) -> None:
    append_rationales(store, four(IMAGES[1], "new", text="another"), PRODUCER)
    reason = "was embedded from other texts than the rationales now accepted; run `mipd-pipe embed-teacher`"
    assert verify(store) == [Fault(f"banks/{TEXT}", IMAGES[1], reason)]
    embed_texts(store)
    assert verify(store) == []


def test_texts_that_are_no_longer_accepted_are_named_until_they_are_gone(store: StorePaths) -> None:
    """Training would still read them from the bank, and search would find them."""
    append_rationales(store, four(IMAGES[1], "new", status="rejected"), PRODUCER)
    assert {(fault.file, fault.key) for fault in verify(store)} == {(f"banks/{TEXT}", IMAGES[1])}
    embed_texts(store, IMAGES[1:2])
    assert verify(store) == []


def test_a_picture_row_without_its_vector_is_named(store: StorePaths) -> None:
    write_shard(store, bank_header(VISION, "bf16"), {"new.jpg": noise(3, 8)})
    reason = "the picture has a row in bank 'student-vision' but no vector; run `mipd-pipe embed-teacher`"
    assert verify(store) == [Fault(f"vectors/{PICTURES}", "new.jpg", reason)]


def test_a_rationale_without_its_vector_is_named(store: StorePaths) -> None:
    """The newest version of the picture's vectors has the first kind only."""
    header = bank_header(TEXT, shape=(4, 5, 8), masked=True)
    before = load_manifest(store).of("vectors", RATIONALES)[-1]
    mine = pq.read_table(store.root / before.path).filter(pc.field("image") == IMAGES[0])
    with editing(store) as cell:
        cell[0] = replace(cell[0], parts=tuple(part for part in cell[0].parts if part != before))
    pool(store, header, RATIONALES, {VectorKey(IMAGES[0], *KINDS[0]): mine["row_key"][0].as_py()})
    build_index(store, RATIONALES, PRODUCER)
    faults = [fault for fault in verify(store) if fault.key == IMAGES[0]]
    assert [fault.reason.split(" has ")[0] for fault in faults] == [
        "the negative glimpse",
        "the positive gaze",
        "the negative gaze",
    ]


def test_vectors_of_another_version_than_the_bank_are_named(store: StorePaths) -> None:
    pool(store, bank_header(VISION, "bf16"), PICTURES, {VectorKey(IMAGES[0]): "ff" * 16})
    build_index(store, PICTURES, PRODUCER)
    reason = (
        "is of another version of the picture than its row in bank 'student-vision'; "
        "run `mipd-pipe embed-teacher`"
    )
    assert verify(store) == [Fault(f"vectors/{PICTURES}", IMAGES[0], reason)]


def test_a_stale_index_is_named(store: StorePaths) -> None:
    header = bank_header(VISION, "bf16")
    write_shard(store, header, {"new.jpg": noise(3, 8)}, {"new.jpg": "aa" * 16})
    pool(store, header, PICTURES, {VectorKey("new.jpg"): "aa" * 16})
    (fault,) = verify(store)
    assert fault.file == f"index/{PICTURES}"
    assert "is not of the vectors now in the store; run `mipd-pipe embed-teacher`" in fault.reason


def test_an_index_of_other_vectors_is_named(store: StorePaths) -> None:
    """It says that it was built from these vectors, but holds the rationales'."""
    shutil.copy(listed(store, "index", RATIONALES), listed(store, "index", PICTURES))
    relist(store, listed(store, "index", PICTURES))
    reason = "4 vectors are not in it, 16 of its vectors are unknown; run `mipd-pipe embed-teacher`"
    assert verify(store) == [Fault(f"index/{PICTURES}", "", reason)]


def test_an_id_that_is_not_its_keys_is_named(store: StorePaths) -> None:
    part = listed(store, "vectors", PICTURES)
    table = pq.read_table(part)
    table = table.set_column(1, table.schema.field("image"), [["other.jpg"]])
    pq.write_table(table, part)
    relist(store, part)
    id_ = VectorKey(IMAGES[3]).id
    name = part.relative_to(store.root).as_posix()
    assert Fault(name, "other.jpg", f"vector id {id_} is not the id of its key") in verify(store)


def test_a_missing_faiss_is_not_taken_for_a_fault(whole: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match="needs FAISS, which is not installed"):
        verify(whole)


def test_a_bank_of_other_settings_beside_the_one_in_force_is_whole(store: StorePaths) -> None:
    """A changed encoder leaves its older shards listed, and a killed run may have none of its own yet."""
    header = bank_header("teacher-vision", encoder="old")
    write_shard(store, header, {"gone.jpg": noise(3, 8)})
    write_shard(store, bank_header("teacher-vision", encoder="new"), {})
    assert verify(store) == []


def test_an_unlisted_file_is_no_fault(store: StorePaths) -> None:
    """A killed writer leaves it; nothing reads it, and the next writer removes it."""
    (store.rationales / "part-00077.parquet").write_bytes(b"left")
    assert verify(store) == []


def test_pictures_embedded_again_are_whole(store: StorePaths) -> None:
    embed_pictures(store, IMAGES[1:3], version=1)
    assert verify(store) == []
