"""What is proven bad leaves the store, with what would keep its pictures from being asked for again."""

from __future__ import annotations

import json
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.bank_reader import BankReader
from cache.errors import UserError
from cache.keys import fingerprint
from cache.kinds import KINDS
from cache.lock import writer_lock
from cache.manifest import editing, load_manifest, remove_leftovers
from cache.paths import StorePaths
from cache.rationales import (
    QuarantineRow,
    append_quarantine,
    append_rationales,
    read_quarantine,
    read_rationales,
    usable_texts,
)
from cache.repair import Action, plan_repair, repair
from cache.verify import verify
from tests.cache.killed_health import run_killed
from tests.cache.small_store import (
    IMAGES,
    PRODUCER,
    VISION,
    bank_header,
    embed_texts,
    empty_store,
    four,
    noise,
    row,
    small_store,
    write_shard,
)

ASKED = "generate-rationales"
KILLS = 6


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    return small_store(tmp_path / "store")


def part(paths: StorePaths, number: int) -> str:
    return f"rationales/part-{number:05d}.parquet"


def damage(paths: StorePaths, name: str) -> bytes:
    """Flips a byte in the middle; returns what the file holds now."""
    file = paths.root / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return bytes(data)


def files(paths: StorePaths) -> dict[str, bytes]:
    """Every file but the locks, which looking does not make either."""
    return {
        path.relative_to(paths.root).as_posix(): path.read_bytes()
        for path in paths.root.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def versions(paths: StorePaths) -> set[tuple[str, str]]:
    return set(read_rationales(paths).select("image", "request_key").iter_rows())


def test_a_whole_store_is_left_as_it_is(store: StorePaths) -> None:
    before = files(store)
    assert plan_repair(store) == []
    assert repair(store) == []
    assert files(store) == before


def test_a_damaged_file_is_set_aside_with_its_bytes(store: StorePaths) -> None:
    data = damage(store, part(store, 0))
    (action,) = repair(store)
    assert (action.deed, action.file) == ("remove", part(store, 0))
    assert "contents do not match the manifest's checksum" in action.reason
    assert str(action).startswith("rationales/part-00000.parquet: removed; contents do not")
    assert (store.removed / part(store, 0)).read_bytes() == data
    assert not (store.root / part(store, 0)).exists()
    assert {image for image, _ in versions(store)} == set(IMAGES[2:]), "the other part stays"


def test_two_damaged_files_of_one_name_are_both_kept(store: StorePaths) -> None:
    first = damage(store, part(store, 1))
    repair(store)
    append_rationales(store, four(IMAGES[3]), PRODUCER)
    second = damage(store, part(store, 1))
    repair(store)
    assert (store.removed / part(store, 1)).read_bytes() == first
    assert (store.removed / f"{part(store, 1)}.1").read_bytes() == second


def test_a_dry_run_changes_nothing(store: StorePaths) -> None:
    for listed in load_manifest(store).parts[::2]:
        damage(store, listed.path)
    before = files(store)
    planned = plan_repair(store)
    assert {action.file for action in planned} >= {listed.path for listed in load_manifest(store).parts[::2]}
    assert files(store) == before
    assert repair(store)[: len(planned)] == planned


def test_a_lost_newer_version_does_not_make_the_older_one_the_wanted_one(store: StorePaths) -> None:
    """Its rows are read again, but under their own key: whoever wants another version still lacks it."""
    append_rationales(store, four(IMAGES[0], "newer", text="newer"), PRODUCER)
    damage(store, part(store, 2))
    repair(store)
    current = read_rationales(store).filter("current")
    assert set(current.filter(image=IMAGES[0])["request_key"]) == {"key"}
    assert (IMAGES[0], "newer") not in versions(store)


def test_a_version_of_which_a_part_is_lost_goes_as_a_whole(store: StorePaths) -> None:
    """The second call asked for one rationale alone: what is left looks as if attempts were used up."""
    first = four(IMAGES[0], "new")
    first[1] |= {"status": "rejected", "reason": "dull"}
    append_rationales(store, first, PRODUCER)
    append_rationales(store, [row(IMAGES[0], KINDS[1], "new", attempt=1), *four(IMAGES[1], "b")], PRODUCER)
    damage(store, part(store, 2))
    actions = repair(store)
    dropped = [(action.file, action.image, action.key) for action in actions if action.deed == "drop"]
    assert dropped == [(part(store, 3), IMAGES[0], "new")]
    assert (IMAGES[0], "new") not in versions(store)
    assert (IMAGES[1], "b") in versions(store), "others of that part stay"


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_version_of_three_calls_survives_only_the_loss_of_its_last(tmp_path: Path, lost: int) -> None:
    """Without its last rows it is what it was before them, and the next call goes on from there."""
    paths = empty_store(tmp_path)
    left = list(KINDS)
    for attempt in range(3):
        accepted = left.pop()
        rows = [row("a.jpg", kind, attempt=attempt, status="rejected", reason="dull") for kind in left]
        append_rationales(paths, [row("a.jpg", accepted, attempt=attempt), *rows], PRODUCER)
    damage(paths, part(paths, lost))
    repair(paths)
    assert (("a.jpg", "key") in versions(paths)) == (lost == 2)


def test_a_version_that_was_given_up_is_kept_while_no_part_is_lost(store: StorePaths) -> None:
    """Its attempts have a gap, as the loss of a part would leave, but nothing is proven bad."""
    gap = [row(IMAGES[0], kind, "new", attempt=2, status="rejected", reason="dull") for kind in KINDS[:1]]
    append_rationales(store, [*four(IMAGES[0], "new"), *gap], PRODUCER)
    embed_texts(store)
    assert repair(store) == []


def failure(image: str, key: str, stage: str = ASKED) -> QuarantineRow:
    return QuarantineRow(image, stage, "no answer", 2, "", key)


def test_a_failure_whose_rationales_were_lost_is_forgotten(tmp_path: Path) -> None:
    """It would pass for a picture of which nothing could be had, and nobody would ask again."""
    paths = empty_store(tmp_path)
    append_rationales(paths, four("early.jpg"), PRODUCER)
    append_quarantine(paths, [failure("before.jpg", "k")], PRODUCER)
    append_rationales(paths, four("lost.jpg"), PRODUCER)
    append_quarantine(paths, [failure("lost.jpg", "key"), failure("x.jpg", "f", "data")], PRODUCER)
    append_rationales(paths, four("late.jpg"), PRODUCER)
    append_quarantine(paths, [failure("late.jpg", "key"), failure("after.jpg", "k")], PRODUCER)
    damage(paths, part(paths, 1))
    repair(paths)
    assert read_quarantine(paths)["image"].to_list() == ["before.jpg", "x.jpg", "late.jpg", "after.jpg"]
    assert versions(paths) == {("early.jpg", "key"), ("late.jpg", "key")}


def test_the_failures_of_other_workers_are_kept(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    for tag in ("0of2", "1of2"):
        append_rationales(paths, four(f"{tag}.jpg"), PRODUCER, tag)
    for tag in ("0of2", "1of2"):
        append_quarantine(paths, [failure(f"{tag}-gone.jpg", "k")], PRODUCER, tag)
    damage(paths, "rationales/part-0of2-00000.parquet")
    repair(paths)
    assert read_quarantine(paths)["image"].to_list() == ["1of2-gone.jpg"]


def test_of_a_bad_row_only_its_version_goes(store: StorePaths) -> None:
    rows = four("new.jpg", "bad")
    rows[2]["score"] = 9
    append_rationales(store, [*four("good.jpg"), *rows], PRODUCER)
    (action,) = repair(store)
    expected = Action("drop", part(store, 2), "row 6 has a score other than 1 to 5", "new.jpg", "bad")
    assert action == expected
    assert str(action) == f"{part(store, 2)} [new.jpg]: rows of version bad dropped; {action.reason}"
    assert {image for image, _ in versions(store)} == {*IMAGES, "good.jpg"}


def test_a_rationale_that_names_a_held_out_verb_goes_with_its_version(store: StorePaths) -> None:
    append_rationales(store, four(IMAGES[0], "leaking", text="sleeping"), PRODUCER)
    repair(store)
    assert (IMAGES[0], "leaking") not in versions(store)
    assert usable_texts(store, [IMAGES[0]])[IMAGES[0]][0] == f"positive_glimpse of {IMAGES[0]}"


def test_a_damaged_shard_goes_and_the_others_stay(store: StorePaths) -> None:
    shards = load_manifest(store).of("bank", VISION)
    damage(store, shards[0].path)
    (action,) = repair(store)
    assert (action.deed, action.file) == ("remove", shards[0].path)
    assert BankReader(store, VISION).images == [IMAGES[3]]


def test_a_shard_of_other_dimensions_goes(store: StorePaths) -> None:
    """It bears this bank's mark and the right checksum, and holds rows of another shape."""
    write_shard(store, bank_header("other", shape=(4, 8)), {IMAGES[3]: noise(4, 8)})
    alien = load_manifest(store).of("bank", "other")[0]
    with editing(store) as cell:
        mark = cell[0].current[VISION]
        listed = replace(alien, name=VISION, fingerprint=mark)
        cell[0] = replace(cell[0], parts=tuple(listed if p == alien else p for p in cell[0].parts))
    (action,) = repair(store)
    assert (action.deed, action.file) == ("remove", alien.path)
    assert sorted(BankReader(store, VISION).images) == sorted(IMAGES)


def test_a_bank_of_another_picture_set_goes(store: StorePaths) -> None:
    write_shard(store, bank_header("teacher-vision"), {"a.jpg": noise(3, 8)})
    shard = load_manifest(store).of("bank", "teacher-vision")[0]
    assert plan_repair(store) == []
    (action,) = repair(store, pictures=IMAGES)
    assert action.file == shard.path
    assert load_manifest(store).of("bank", "teacher-vision") == []


def test_a_damaged_header_goes_and_its_shards_stay(store: StorePaths) -> None:
    header = next(store.bank(VISION).glob("*.json"))
    damage(store, header.relative_to(store.root).as_posix())
    (action,) = repair(store)
    assert action.file == header.relative_to(store.root).as_posix()
    assert len(load_manifest(store).of("bank", VISION)) == 2
    assert not header.exists()


def test_an_index_older_than_its_vectors_goes(store: StorePaths) -> None:
    vectors, index = (
        load_manifest(store).of("vectors", "pictures"),
        load_manifest(store).of("index", "pictures"),
    )
    damage(store, vectors[0].path)
    assert [action.file for action in repair(store)] == [vectors[0].path, index[0].path]
    assert load_manifest(store).of("index", "pictures") == []


def test_what_the_next_command_mends_is_left_to_it(store: StorePaths) -> None:
    """Texts that changed since they were embedded: `embed-teacher` replaces the row."""
    append_rationales(store, four(IMAGES[1], "new", text="another"), PRODUCER)
    assert len(verify(store)) == 1
    assert repair(store) == []


@pytest.mark.parametrize("harm", ["damaged", "missing", "format"])
def test_a_manifest_comes_back_from_its_copy(store: StorePaths, harm: str) -> None:
    before, text = load_manifest(store), store.manifest.read_text()
    if harm == "missing":
        store.manifest.unlink()
    else:
        old, new = ('"format": 2', '"format": 3') if harm == "format" else ("sleeping", "sleepinf")
        store.manifest.write_text(text.replace(old, new))
    (planned,) = plan_repair(store)
    assert (planned.deed, planned.file) == ("restore", "manifest.json")
    assert repair(store) == [planned]
    assert load_manifest(store) == before
    assert store.manifest.read_text() == text
    assert (store.removed / "manifest.json").exists() == (harm != "missing")
    assert verify(store) == []


def test_a_copy_is_written_anew(store: StorePaths) -> None:
    damage(store, store.manifest_copy.name)
    (fault,) = verify(store)
    assert fault.file == "manifest.json.copy"
    (action,) = repair(store)
    assert str(action) == "manifest.json.copy: written anew; it is damaged"
    assert store.manifest_copy.read_bytes() == store.manifest.read_bytes()


def test_a_copy_that_is_one_change_ahead_is_no_fault_and_lists_only_what_is_there(store: StorePaths) -> None:
    """A kill between the two writes: the copy knows of a part that the manifest does not."""
    behind = store.manifest.read_bytes()
    append_rationales(store, four(IMAGES[0], "new", text=f"{KINDS[0].field} of {IMAGES[0]}"), PRODUCER)
    ahead = load_manifest(store)
    store.manifest.write_bytes(behind)
    assert repair(store) == []
    damage(store, store.manifest.name)
    repair(store)
    assert load_manifest(store) == ahead


def test_without_manifest_and_copy_nothing_is_touched(store: StorePaths) -> None:
    damage(store, store.manifest.name)
    damage(store, store.manifest_copy.name)
    names = set(files(store)) - {store.manifest.name}
    message = (
        r"^the manifest and its copy are both lost or damaged \(.+\): nothing else says which parts count; "
        "restore one of them from a backup, or move the store away and run again$"
    )
    with pytest.raises(UserError, match=message):
        repair(store)
    assert names <= set(files(store))


def test_a_store_of_a_newer_format_is_refused_and_left_alone(store: StorePaths) -> None:
    fields: dict[str, Any] = json.loads(store.manifest.read_text())
    fields["format"] = 3
    del fields["checksum"]
    store.manifest.write_text(json.dumps({**fields, "checksum": fingerprint(fields)}))
    before = files(store)
    with pytest.raises(
        UserError, match="has store format 3; this version reads formats 1 and 2: use the version"
    ):
        repair(store)
    assert files(store) == before


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store at"):
        plan_repair(StorePaths(tmp_path))


def test_a_store_that_is_being_written_is_not_repaired(store: StorePaths) -> None:
    damage(store, part(store, 0))
    with (
        writer_lock(store.root, "embed-teacher"),
        pytest.raises(UserError, match="is being written by `embed-teacher`"),
    ):
        repair(store)
    assert (store.root / part(store, 0)).exists()


def outcome(paths: StorePaths) -> dict[str, object]:
    """What a repair leaves: contents but for the times of writing, and whether it is whole."""
    found: dict[str, object] = {part.path: part.checksum for part in load_manifest(paths).parts}
    faults = {(fault.file, fault.key) for fault in verify(paths)}
    return found | {"faults": faults, "left": repair(paths), "versions": versions(paths)}


def test_a_repair_that_is_killed_anywhere_ends_as_one_that_is_not(store: StorePaths, tmp_path: Path) -> None:
    """A lost part with a torn version in another, lost vectors with their index, a lost copy."""
    append_rationales(store, [*four("torn.jpg", "k", status="rejected"), *four("x.jpg")], PRODUCER)
    append_rationales(store, [row("torn.jpg", key="k", attempt=1), *four("y.jpg")], PRODUCER)
    vectors = load_manifest(store).of("vectors", "pictures")[0].path
    for name in (part(store, 2), vectors, "manifest.json.copy"):
        damage(store, name)
    shutil.copytree(store.root, tmp_path / "whole")
    events = int(run_killed(tmp_path / "whole", "repair", 0).stdout)
    expected, moments = outcome(StorePaths(tmp_path / "whole")), random.Random(0)
    for kill in range(KILLS):
        paths = StorePaths(tmp_path / f"killed-{kill}")
        shutil.copytree(store.root, paths.root)
        done = run_killed(paths.root, "repair", moments.randint(1, events))
        assert done.returncode == -signal.SIGKILL
        repair(paths)
        remove_leftovers(paths)
        assert outcome(paths) == expected


def test_a_repair_may_be_killed_before_the_files_are_moved(store: StorePaths) -> None:
    """The manifest no longer lists them: they are leftovers, and the store is whole."""
    damage(store, part(store, 0))
    repair(store)
    shutil.move(store.removed / part(store, 0), store.root / part(store, 0))
    assert repair(store) == []
    assert {fault.file for fault in verify(store)} == {"banks/rationale-text"}, "its texts are to come again"
