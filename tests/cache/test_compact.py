"""Few large files instead of many small ones, read as before; killed anywhere, it loses nothing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.bank_reader import BankReader
from cache.compact import compact
from cache.errors import MachineError, UserError
from cache.index import load_index
from cache.kinds import KINDS
from cache.lock import writer_lock
from cache.manifest import find_leftovers, load_manifest, put_in_force
from cache.paths import StorePaths
from cache.rationales import (
    QuarantineRow,
    append_quarantine,
    append_rationales,
    copy_version,
    read_quarantine,
    read_rationales,
)
from cache.repair import repair
from cache.vectors import PICTURES, RATIONALES, VectorKey, read_vectors, vector_versions
from cache.verify import verify
from tests.cache.killed_health import ROWS_PER_PART, run_killed
from tests.cache.small_store import (
    IMAGES,
    PRODUCER,
    TEXT,
    VISION,
    bank_header,
    embed_pictures,
    embed_texts,
    empty_store,
    four,
    noise,
    pool,
    row,
    small_store,
    write_shard,
)

KILLS = 16


def worn_store(root: Path) -> StorePaths:
    """A store that was written in many small steps, some of them twice."""
    paths = small_store(root)
    for version in ("b", "c"):
        append_rationales(paths, four(IMAGES[1], version, text=f"version {version}"), PRODUCER)
        append_quarantine(paths, [QuarantineRow("bad.jpg", "data", version, 0, "", "f")], PRODUCER)
        embed_texts(paths)
    append_rationales(paths, four(IMAGES[0], "rejected", status="rejected"), PRODUCER)
    embed_pictures(paths, IMAGES[1:3], version=1)
    embed_texts(paths)
    write_shard(paths, bank_header("teacher-vision", encoder="old"), {IMAGES[0]: noise(3, 8)})
    write_shard(paths, bank_header("teacher-vision", encoder="new"), {IMAGES[0]: noise(3, 8)})
    return paths


def reading(paths: StorePaths) -> dict[str, object]:
    """Everything that is read of the newest versions."""
    found: dict[str, object] = {
        "rationales": read_rationales(paths).filter("current").to_dicts(),
        "quarantine": read_quarantine(paths).to_dicts(),
        "versions": vector_versions(paths, RATIONALES),
    }
    for family in (PICTURES, RATIONALES):
        found[f"vectors {family}"] = read_vectors(paths, family).to_dicts()
    for name in (VISION, TEXT, "teacher-vision"):
        bank = BankReader(paths, name)
        found[name] = {i: (bank.row_keys[i], bytes(bank.payload(i))) for i in sorted(bank.images)}
        bank.close()
    return found


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    return worn_store(tmp_path_factory.mktemp("worn"))


@pytest.fixture
def store(worn: StorePaths, tmp_path: Path) -> StorePaths:
    shutil.copytree(worn.root, tmp_path / "store")
    return StorePaths(tmp_path / "store")


def test_few_files_are_left_and_read_the_same(store: StorePaths) -> None:
    before, files = reading(store), len(load_manifest(store).parts)
    report = compact(store)
    assert reading(store) == before
    assert verify(store) == []
    assert (report.files_before, report.files_after) == (files, len(load_manifest(store).parts))
    assert report.bytes_after == sum(part.bytes for part in load_manifest(store).parts) < report.bytes_before
    names = [(part.kind, part.name) for part in load_manifest(store).parts if part.kind != "bank"]
    assert len(names) == len(set(names)), "one part of each"
    assert read_rationales(store)["current"].all()
    on_disk = {path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"}
    listed = {store.root / part.path for part in load_manifest(store).parts}
    headers = {path for path in on_disk if path.suffix == ".json" and "banks" in path.parts}
    assert on_disk == listed | headers | {store.manifest, store.manifest_copy}
    assert len(headers) == 3, "the header of replaced settings is gone"


def test_a_second_call_finds_nothing_to_do(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """And reads no bank for it, which would take an hour."""
    compact(store)
    before = store.manifest.read_bytes()
    monkeypatch.setattr("cache.rewrite.digest_file", lambda path: pytest.fail(f"{path} was read whole"))
    report = compact(store)
    assert store.manifest.read_bytes() == before
    assert report.dropped == {}


def test_versions_are_kept_where_that_is_wanted(store: StorePaths) -> None:
    rows, shards = read_rationales(store), load_manifest(store).of("bank", "teacher-vision")
    before = reading(store)
    compact(store, keep_versions=True)
    assert read_rationales(store).equals(rows)
    assert reading(store) == before
    assert load_manifest(store).of("bank", "teacher-vision") == shards
    copy_version(store, {IMAGES[1]: "b"}, PRODUCER)
    current = read_rationales(store).filter("current")
    assert set(current.filter(image=IMAGES[1])["text"]) == {"version b"}


def test_the_index_stays_current(store: StorePaths) -> None:
    before = [part.checksum for part in load_manifest(store).of("index", PICTURES)]
    compact(store)
    assert load_index(store, PICTURES).ntotal == len(IMAGES)
    assert [part.checksum for part in load_manifest(store).of("index", PICTURES)] == before


def test_a_part_ends_between_two_pictures(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    images = [f"{i}.jpg" for i in range(10)]
    for image in images:
        append_rationales(paths, four(image), PRODUCER)
    compact(paths, rows_per_part=6)
    parts = load_manifest(paths).of("rationales")
    assert [part.rows for part in parts] == [8] * 5
    assert read_rationales(paths, ["image"])["image"].to_list() == [i for i in images for _ in KINDS]
    before = paths.manifest.read_bytes()
    compact(paths, rows_per_part=6)
    assert paths.manifest.read_bytes() == before


def test_a_shard_is_rewritten_when_enough_of_it_is_stale(tmp_path: Path) -> None:
    paths, header = empty_store(tmp_path), bank_header(VISION, "int8")
    many = [f"{i}.jpg" for i in range(8)]
    write_shard(paths, header, {image: noise(3, 8, seed=image) for image in many})
    write_shard(paths, header, {image: noise(3, 8, seed=image) for image in many[:2]})
    first = load_manifest(paths).of("bank", VISION)[0]
    compact(paths, stale_share=0.25)
    assert load_manifest(paths).of("bank", VISION)[0] == first, "a quarter is not more than a quarter"
    before = {image: bytes(BankReader(paths, VISION).payload(image)) for image in many}
    compact(paths, stale_share=0.2)
    assert [part.rows for part in load_manifest(paths).of("bank", VISION)] == [6, 2]
    assert {image: bytes(BankReader(paths, VISION).payload(image)) for image in many} == before
    assert not (paths.root / first.path).exists()
    write_shard(paths, header, {image: noise(3, 8, seed=image) for image in many})
    compact(paths)
    assert [part.rows for part in load_manifest(paths).of("bank", VISION)] == [8]


def test_what_was_set_aside_and_what_is_not_listed_goes(store: StorePaths) -> None:
    (store.removed / "rationales").mkdir(parents=True)
    (store.removed / "rationales" / "part-00000.parquet").touch()
    (store.rationales / "part-00077.parquet").touch()
    (store.rationales / "my-notes.txt").touch()
    assert compact(store).removed == 2
    assert not store.removed.exists()
    assert not (store.rationales / "part-00077.parquet").exists()
    assert (store.rationales / "my-notes.txt").exists(), "no writer would have named it so"


@pytest.mark.parametrize("kind", ["rationales", "quarantine", "vectors", "bank"])
def test_a_damaged_part_is_not_given_a_new_checksum(store: StorePaths, kind: str) -> None:
    part = next(
        part for part in load_manifest(store).parts if part.kind == kind and part.name != "teacher-vision"
    )
    data = bytearray((store.root / part.path).read_bytes())
    data[len(data) // 2] ^= 1
    (store.root / part.path).write_bytes(data)
    message = f"{part.path} is missing or damaged, and rewriting it would hide that: run `mipd-pipe inspect "
    with pytest.raises(UserError, match=message):
        compact(store)
    assert part in load_manifest(store).parts
    repair(store)
    compact(store)


def test_too_little_room_is_said_first(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(store.root)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    before = reading(store)
    message = (
        r"^rewriting rationales needs up to 1 MiB beside the old files until they can be removed, .+ has 1 "
        "MiB free; nothing was lost: make room, then run the same command again$"
    )
    with pytest.raises(MachineError, match=message):
        compact(store)
    assert find_leftovers(store) == []
    assert reading(store) == before


def test_a_store_that_is_being_written_is_left_alone(store: StorePaths) -> None:
    with (
        writer_lock(store.root, "embed-teacher"),
        pytest.raises(UserError, match="is being written by `embed-teacher`"),
    ):
        compact(store)


def test_labels_and_vectors_of_other_settings_go_only_when_theirs_are_in_force(tmp_path: Path) -> None:
    paths = small_store(tmp_path)
    put_in_force(paths, "verbs", "other")
    with_other = load_manifest(paths)
    compact(paths)
    assert load_manifest(paths).of("labels", "verbs") == []
    assert len(with_other.of("labels", "verbs")) == 1


def test_a_bank_reader_that_was_open_goes_on(store: StorePaths) -> None:
    bank = BankReader(store, VISION)
    before = {image: bytes(bank.payload(image)) for image in bank.images}
    compact(store, stale_share=0.0)
    assert {image: bytes(bank.payload(image)) for image in bank.images} == before
    bank.close()


def test_a_bank_reader_whose_shards_are_gone_says_to_try_again(store: StorePaths) -> None:
    """It knew them before the compaction and opens them after it, as a new worker of a training run does."""
    bank = BankReader(store, VISION)
    compact(store, stale_share=0.0)
    left = {part.path for part in load_manifest(store).of("bank", VISION)}
    gone = next(part.path for part in bank._parts if part.path not in left)
    message = (
        rf"^bank shard {store.root / gone} was replaced or removed since this command began to read the bank "
        r"'student-vision': wait for `mipd-pipe inspect compact` to end, then run the same command again$"
    )
    with pytest.raises(UserError, match=message):
        bank.read_batch(bank.images)
    assert len(BankReader(store, VISION)) == len(IMAGES), "which then goes well"


def test_a_bank_whose_shards_are_replaced_while_its_keys_are_read_is_read_anew(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale, expected = [load_manifest(store)], reading(store)[VISION]
    compact(store, stale_share=0.0)
    monkeypatch.setattr(
        "cache.replaced_parts.load_manifest", lambda paths: stale.pop() if stale else load_manifest(paths)
    )
    bank = BankReader(store, VISION)
    assert {i: (bank.row_keys[i], bytes(bank.payload(i))) for i in sorted(bank.images)} == expected
    assert not stale


def test_a_reader_whose_parts_are_replaced_begins_anew(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = [load_manifest(store)]
    expected = reading(store)["rationales"]
    compact(store)
    monkeypatch.setattr(
        "cache.replaced_parts.load_manifest", lambda paths: stale.pop() if stale else load_manifest(paths)
    )
    assert read_rationales(store).to_dicts() == expected
    assert not stale


def test_a_reader_that_never_catches_up_is_told_why(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = load_manifest(store)
    compact(store)
    turns = iter([stale, load_manifest(store)] * 5)
    monkeypatch.setattr("cache.replaced_parts.load_manifest", lambda paths: next(turns))
    message = (
        r"were replaced 5 times while they were read: wait for `mipd-pipe inspect compact` to end, then run"
    )
    with pytest.raises(UserError, match=message):
        read_rationales(store)


def test_the_producers_of_merged_parts_are_kept(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    for version in ("1", "1", "2"):
        append_rationales(paths, four(f"{version}.jpg"), {"command": "test", "version": version})
    compact(paths)
    append_rationales(paths, four("3.jpg"), {"command": "test", "version": "3"})
    compact(paths)
    (part,) = load_manifest(paths).of("rationales")
    earlier = [{"command": "test", "version": version} for version in ("1", "2")]
    assert part.producer == {"command": "test", "version": "3", "merged": 4, "earlier_producers": earlier}


def test_a_kill_anywhere_loses_nothing(worn: StorePaths, tmp_path: Path) -> None:
    """At moments all over the call; the next one comes to the same end."""
    expected = reading(worn)
    shutil.copytree(worn.root, tmp_path / "counted")
    events, moments = int(run_killed(tmp_path / "counted", "compact", 0).stdout), random.Random(0)
    for kill in range(KILLS):
        shutil.copytree(worn.root, tmp_path / "store")
        paths = StorePaths(tmp_path / "store")
        done = run_killed(paths.root, "compact", moments.randint(1, events))
        assert done.returncode == -signal.SIGKILL
        assert verify(paths) == []
        assert reading(paths) == expected
        if kill % 2:
            compact(paths, rows_per_part=ROWS_PER_PART)
            assert find_leftovers(paths) == []
            assert reading(paths) == expected
        shutil.rmtree(paths.root)


class Written(NamedTuple):
    """A part: pictures with the version written of each, and what became of its rationales."""

    pictures: Sequence[tuple[str, str, int, bool]]

    def to(self, paths: StorePaths) -> None:
        rows = []
        for image, key, attempt, accepted in self.pictures:
            status = "accepted" if accepted else "rejected"
            rows += four(image, key, attempt=attempt, status=status, text=f"{key} {attempt}")[: 4 - attempt]
        append_rationales(paths, rows, PRODUCER)


class Failed(NamedTuple):
    """A quarantine part."""

    image: str
    stage: str

    def to(self, paths: StorePaths) -> None:
        append_quarantine(paths, [QuarantineRow(self.image, self.stage, "", 1, "", "k")], PRODUCER)


class Pooled(NamedTuple):
    """A part of rationale vectors: of each picture those of a version, or the word that it has none."""

    pictures: Sequence[tuple[str, str, int]]

    def to(self, paths: StorePaths) -> None:
        keys: dict[VectorKey, str] = {}
        for image, row_key, count in self.pictures:
            found = [VectorKey(image, *kind) for kind in KINDS[:count]] or [VectorKey(image)]
            keys |= dict.fromkeys(found, row_key)
        pool(paths, bank_header(TEXT, shape=(4, 5, 8), masked=True), RATIONALES, keys)


class Revived(NamedTuple):
    """An earlier version that was made current again, where the picture has one."""

    image: str
    key: str

    def to(self, paths: StorePaths) -> None:
        there = read_rationales(paths, ["image", "request_key"])
        if there.filter(image=self.image, request_key=self.key).height:
            copy_version(paths, {self.image: self.key}, PRODUCER)


_images = st.sampled_from("abc")


def histories(names: str) -> st.SearchStrategy[list[Written | Revived | Failed | Pooled]]:
    """What may be written one after another, of versions of these names."""
    keys = st.sampled_from(names)
    pictures = st.tuples(_images, keys, st.integers(0, 2), st.booleans())
    vectors = st.tuples(_images, keys, st.integers(0, 4))
    once: dict[str, Any] = {"min_size": 1, "max_size": 3, "unique_by": itemgetter(0)}
    step = st.one_of(
        st.builds(Written, st.lists(pictures, **once)),
        st.builds(Revived, _images, keys),
        st.builds(Failed, _images, st.sampled_from(["data", "generate-rationales"])),
        st.builds(Pooled, st.lists(vectors, **once)),
    )
    return st.lists(step, min_size=1, max_size=7)


@settings(max_examples=40)
@given(history=histories("klm"), later=histories("xyz"), keep=st.booleans(), rows=st.integers(1, 20))
def test_whatever_was_written_reads_the_same_before_and_after(
    history: Sequence[Any], later: Sequence[Any], keep: bool, rows: int
) -> None:
    """And so does what is written later. Dropped versions are gone: later ones have names of their own."""
    # Thousands of small files are written here, and no power cut is being tested.
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        plain, merged = empty_store(Path(folder, "plain")), empty_store(Path(folder, "merged"))
        for step in history:
            step.to(plain)
            step.to(merged)
        compact(merged, keep_versions=keep, rows_per_part=rows)
        assert_same(plain, merged, keep)
        for step in [*later, *(history if keep else ())]:
            step.to(plain)
            step.to(merged)
        assert_same(plain, merged, keep)


def assert_same(plain: StorePaths, merged: StorePaths, keep: bool) -> None:
    chosen: Callable[[pl.DataFrame], pl.DataFrame] = (
        (lambda f: f) if keep else (lambda f: f.filter("current"))
    )
    assert chosen(read_rationales(merged)).equals(chosen(read_rationales(plain)))
    assert read_quarantine(merged).equals(read_quarantine(plain))
    assert vector_versions(merged, RATIONALES) == vector_versions(plain, RATIONALES)
    assert read_vectors(merged, RATIONALES).sort("id").equals(read_vectors(plain, RATIONALES).sort("id"))


def test_an_earlier_version_that_was_dropped_is_not_current_when_the_picture_goes_back(
    tmp_path: Path,
) -> None:
    paths = empty_store(tmp_path)
    append_rationales(paths, [row("a.jpg", key="old")], PRODUCER)
    append_rationales(paths, [row("a.jpg", key="new")], PRODUCER)
    assert compact(paths).dropped == {"rationales": 1}
    assert read_rationales(paths)["request_key"].to_list() == ["new"]
