"""What the manifest lists counts, what it does not list is removed, and nobody's entry is lost."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.atomic import TEMPORARY, write_bytes
from cache.errors import UserError
from cache.keys import digest_bytes, fingerprint
from cache.manifest import (
    Part,
    PartKind,
    add_parts,
    describe_part,
    editing,
    find_leftovers,
    load_manifest,
    load_manifest_copy,
    next_number,
    part_file,
    put_in_force,
    remove_leftovers,
    replace_part,
)
from cache.paths import StorePaths
from cache.rationales import append_rationales
from tests.cache.small_store import HELD_OUT, PRODUCER, empty_store, four, small_store

FORK = multiprocessing.get_context("fork")


def part(path: str, kind: PartKind = "rationales", name: str = "", mark: str = "") -> Part:
    return Part(path, kind, name, 1, 2, "sum", mark, "2026-01-01T00:00:00+00:00", {"command": "test"})


def rewrite(paths: StorePaths, change: dict[str, Any], drop: str = "") -> None:
    """Changes fields of a manifest and makes its checksum right, as another version would."""
    fields = {**json.loads(paths.manifest.read_text()), **change}
    fields.pop("checksum")
    fields.pop(drop, None)
    paths.manifest.write_text(json.dumps({**fields, "checksum": fingerprint(fields)}))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    parts = [part("a"), part("b", "bank", "vision", "f")]
    add_parts(paths, parts)
    put_in_force(paths, "vision", "f")
    manifest = load_manifest(paths)
    assert manifest.parts == tuple(parts)
    assert manifest.held_out_verbs == HELD_OUT
    assert manifest.data_fingerprint == "d"
    assert manifest.current == {"vision": "f"}


def test_parts_are_described_as_they_lie(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    paths.vectors.mkdir()
    (paths.vectors / "pictures-00000.parquet").write_bytes(b"contents")
    path = paths.vectors / "pictures-00000.parquet"
    found = describe_part(paths, path, "vectors", 3, {"command": "c"}, "pictures", "f")
    assert found == Part(
        path="vectors/pictures-00000.parquet",
        kind="vectors",
        name="pictures",
        rows=3,
        bytes=8,
        checksum=digest_bytes(b"contents"),
        fingerprint="f",
        written_at=found.written_at,
        producer={"command": "c"},
    )


def test_only_parts_of_the_settings_in_force_count(tmp_path: Path) -> None:
    """Going back to earlier settings brings their parts back."""
    paths = empty_store(tmp_path)
    old, new = part("old", "bank", "vision", "1"), part("new", "bank", "vision", "2")
    add_parts(paths, [old, new, part("other", "bank", "text", "1")])
    assert load_manifest(paths).in_force("bank", "vision") == []
    put_in_force(paths, "vision", "2")
    assert load_manifest(paths).in_force("bank", "vision") == [new]
    put_in_force(paths, "vision", "1")
    assert load_manifest(paths).in_force("bank", "vision") == [old]


def test_a_missing_manifest_is_empty_and_a_missing_store_is_named(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path / "store")
    assert load_manifest(paths).parts == ()
    message = (
        rf"^no store at {paths.root} \(no manifest.json\); make one with `mipd-pipe generate-rationales`, "
        "or give the right run_dir$"
    )
    with pytest.raises(UserError, match=message):
        paths.require()


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    rewrite(paths, {"format": 3})
    message = (
        r"manifest.json has store format 3; this version reads formats 1 and 2: use the version of mipd-pipe "
        "that wrote it, or rebuild the store$"
    )
    with pytest.raises(UserError, match=message):
        load_manifest(paths)


@pytest.mark.parametrize("text", ["", "{", "\xff", '{"format": 1,}'])
def test_broken_json_is_refused(tmp_path: Path, text: str) -> None:
    paths = empty_store(tmp_path)
    paths.manifest.write_bytes(text.encode("latin-1"))
    message = (
        r"manifest.json is not JSON \(.+\); it is written all at once, so something else changed it: put its "
        "copy back with `mipd-pipe inspect repair`, or move the store away and run again$"
    )
    with pytest.raises(UserError, match=message):
        load_manifest(paths)


@pytest.mark.parametrize("text", ["[]", "7", "{}"])
def test_json_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    paths = empty_store(tmp_path)
    paths.manifest.write_text(text)
    with pytest.raises(UserError, match="has store format None; this version reads formats 1 and 2"):
        load_manifest(paths)


@pytest.mark.parametrize(
    ("change", "drop"),
    [
        ({}, "parts"),
        ({}, "producers"),
        ({"parts": [{"path": "a", "producer": 0}], "producers": [{}]}, ""),
        ({"parts": [{"path": "a", "producer": 1}], "producers": [{}]}, ""),
        ({"new": 1}, ""),
    ],
)
def test_a_missing_or_unknown_field_is_refused(tmp_path: Path, change: dict[str, Any], drop: str) -> None:
    paths = empty_store(tmp_path)
    rewrite(paths, change, drop)
    message = (
        r"manifest.json lacks or has an unknown field \(.+\): use the version of mipd-pipe that wrote it, or "
        "rebuild the store$"
    )
    with pytest.raises(UserError, match=message):
        load_manifest(paths)


def test_a_manifest_that_was_changed_is_refused(tmp_path: Path) -> None:
    """No other file vouches for the list of held-out verbs."""
    paths = empty_store(tmp_path)
    paths.manifest.write_text(paths.manifest.read_text().replace("sleeping", "sleepinh"))
    message = (
        r"manifest.json was changed after it was written: its contents have checksum [0-9a-f]{32}, it "
        "records [0-9a-f]{32}; put its copy back with `mipd-pipe inspect repair`, or move the store away and "
        "run again$"
    )
    with pytest.raises(UserError, match=message):
        load_manifest(paths)


def test_a_failed_edit_changes_nothing(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    before = paths.manifest.read_bytes()

    def edit() -> None:
        with editing(paths) as cell:
            cell[0] = replace(cell[0], data_fingerprint="other")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit()
    assert paths.manifest.read_bytes() == before


def test_an_edit_without_a_change_writes_nothing(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    before = paths.manifest.stat()
    put_in_force(paths, "vision", "f")
    changed = paths.manifest.stat()
    put_in_force(paths, "vision", "f")
    assert before.st_ino != changed.st_ino == paths.manifest.stat().st_ino


def test_parts_added_by_several_processes_are_all_listed(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    start = FORK.Barrier(4)

    def add(worker: int) -> None:
        start.wait()
        for i in range(25):
            add_parts(paths, [part(f"{worker}-{i}")])

    processes = [FORK.Process(target=add, args=(worker,)) for worker in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    listed = [entry.path for entry in load_manifest(paths).parts]
    assert len(listed) == 100
    for worker in range(4):
        mine = [path for path in listed if path.startswith(f"{worker}-")]
        assert mine == [f"{worker}-{i}" for i in range(25)], "in the order they were finished"


def test_a_replaced_part_leaves_the_list_and_the_disk(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    for name in ("one", "two", "other"):
        (tmp_path / name).touch()
    add_parts(paths, [part("one", "index", "pictures"), part("other", "index", "rationales")])
    replace_part(paths, part("two", "index", "pictures"))
    assert [entry.path for entry in load_manifest(paths).parts] == ["other", "two"]
    assert not (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()
    assert (tmp_path / "other").exists()


def test_leftovers_are_removed_and_listed_files_kept(tmp_path: Path) -> None:
    paths = small_store(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    mine = paths.rationales / "all of them.parquet"  # no writer names a part so
    bank = next((tmp_path / "banks").glob("*"))
    left = [
        paths.rationales / "part-00099.parquet",
        paths.quarantine / "part-00099.parquet",
        paths.vectors / "labels-verbs-00099.parquet",
        paths.index / "pictures-00099.faiss",
        bank / "0123456789ab-00099.lmdb",
        bank / f"0123456789ab-00100.lmdb{TEMPORARY}77",
        tmp_path / f"manifest.json{TEMPORARY}77",
    ]
    for path in (mine, *left):
        path.write_bytes(b"left")
    assert set(find_leftovers(paths)) == set(left)
    assert set(remove_leftovers(paths)) == set(left)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == {**before, mine: b"left"}
    assert remove_leftovers(paths) == []


def test_a_store_that_lost_its_manifest_is_not_emptied(tmp_path: Path) -> None:
    """Every part would be a leftover."""
    paths = small_store(tmp_path)
    paths.manifest.unlink()
    before = sorted(tmp_path.rglob("*"))
    message = (
        rf"^{paths.manifest} is missing, but there are 12 parts, e.g. {paths.rationales}/part-00000.parquet: "
        "without it they would be removed as leftovers; put its copy back with `mipd-pipe inspect "
        "repair`, or move the store away and run again$"
    )
    with pytest.raises(UserError, match=message):
        remove_leftovers(paths)
    assert sorted(tmp_path.rglob("*")) == before


def test_numbers_go_on_from_the_highest_file_listed_or_there(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    assert next_number(paths, tmp_path / "none", ".parquet") == 0
    for name in ("part-00003.parquet", "labels-verbs-00011.parquet", "x-99999.lmdb", "notes-200.parquet"):
        (tmp_path / name).touch()
    assert next_number(paths, tmp_path, ".parquet") == 12
    (tmp_path / "part-123456.parquet").touch()
    assert next_number(paths, tmp_path, ".parquet") == 123457


def test_numbers_count_for_each_tag(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    names = (
        "part-00003.parquet",
        "part-3of8-00011.parquet",
        "part-3of80-00020.parquet",
        "a-b-1of8-00007.parquet",
    )
    for name in names:
        (tmp_path / name).touch()
    numbers = {
        tag: next_number(paths, tmp_path, ".parquet", tag) for tag in ("", "3of8", "3of80", "1of8", "0of8")
    }
    assert numbers == {"": 4, "3of8": 12, "3of80": 21, "1of8": 8, "0of8": 0}


def test_parts_are_named_by_tag_and_number() -> None:
    assert part_file("part", 12, ".parquet") == "part-00012.parquet"
    assert part_file("labels-verbs", 123456, ".parquet", "3of8") == "labels-verbs-3of8-123456.parquet"
    with pytest.raises(AssertionError):
        part_file("part", 1, ".parquet", "third of eight")


def test_a_worker_removes_its_own_leftovers_alone(tmp_path: Path) -> None:
    """Those of others may be parts that they are writing, and the manifest's a living process's."""
    paths = small_store(tmp_path)
    append_rationales(paths, four("a.jpg"), PRODUCER, "3of8")
    listed = [tmp_path / entry.path for entry in load_manifest(paths).parts]
    mine = [
        paths.rationales / "part-3of8-00001.parquet",
        paths.quarantine / "part-3of8-00000.parquet",
        paths.vectors / "labels-verbs-3of8-00009.parquet",
        paths.rationales / f"part-3of8-00002.parquet{TEMPORARY}77",
    ]
    others = [
        paths.rationales / "part-00099.parquet",
        paths.rationales / "part-3of80-00001.parquet",
        paths.rationales / f"part-2of8-00001.parquet{TEMPORARY}77",
        paths.rationales / f"notes{TEMPORARY}77",
        tmp_path / f"manifest.json{TEMPORARY}77",
    ]
    for path in (*mine, *others):
        path.write_bytes(b"left")
    assert set(remove_leftovers(paths, "3of8")) == set(mine)
    assert all(path.exists() for path in (*others, *listed))
    assert set(remove_leftovers(paths, "")) == {others[0]}
    assert set(remove_leftovers(paths)) == set(others[1:])


def test_the_number_of_a_listed_file_that_was_deleted_is_not_given_again(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    add_parts(
        paths, [part("index/pictures-00004.faiss", "index"), part("vectors/x-00009.parquet", "vectors")]
    )
    assert next_number(paths, paths.index, ".faiss") == 5
    assert next_number(paths, paths.vectors, ".faiss") == 0


def test_the_copy_is_never_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop between the two writes leaves a copy that lists what is finished, and no older one."""
    paths = empty_store(tmp_path)
    assert load_manifest_copy(paths) == load_manifest(paths)

    def stopped(target: Path, data: bytes) -> None:
        if target == paths.manifest:
            raise KeyboardInterrupt
        write_bytes(target, data)

    with monkeypatch.context() as patch:
        patch.setattr("cache.manifest.write_bytes", stopped)
        with pytest.raises(KeyboardInterrupt):
            put_in_force(paths, "verbs", "new")
    assert load_manifest(paths).current == {}
    assert load_manifest_copy(paths).current == {"verbs": "new"}
    remove_leftovers(paths)
    assert load_manifest_copy(paths) == load_manifest(paths), "the next writer begins with what counts"
