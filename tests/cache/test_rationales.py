"""Which rows count: the newest version of a picture, its last accepted attempts, the newest failure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from cache.keys import fingerprint
from cache.kinds import KINDS
from cache.manifest import load_manifest, remove_leftovers
from cache.paths import StorePaths
from cache.rationales import (
    QUARANTINE_SCHEMA,
    SCHEMA,
    QuarantineRow,
    RationaleRow,
    append_quarantine,
    append_rationales,
    copy_version,
    read_quarantine,
    read_rationales,
    texts_key,
    usable_texts,
)
from tests.cache.small_store import PRODUCER, empty_store, four, row

A, B = "a.jpg", "b.jpg"
Row = Mapping[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    return empty_store(tmp_path)


def append(paths: StorePaths, *rows: Row) -> None:
    append_rationales(paths, rows, PRODUCER)


def flags(paths: StorePaths, column: str, *shown: str) -> list[Any]:
    """Values of the rows that `column` marks."""
    frame = read_rationales(paths, [*shown]).filter(column).select(shown)
    return frame.to_series().to_list() if len(shown) == 1 else frame.rows()


def failure(image: str, stage: str = "data", reason: str = "r") -> QuarantineRow:
    return QuarantineRow(image, stage, reason, 1, "raw", fingerprint([image, reason]))


def test_an_empty_store_has_no_rows(store: StorePaths) -> None:
    frame = read_rationales(store)
    assert frame.height == 0
    assert frame.columns == [*SCHEMA.names, "current", "usable"]
    assert frame.schema["current"] == frame.schema["usable"] == pl.Boolean
    assert read_quarantine(store).height == 0
    assert usable_texts(store, [A]) == {}


def test_rows_come_back_as_they_were_given(store: StorePaths) -> None:
    rows = [row(A, text="žluťoučký\nkůň", score=5, seconds=0.25), row(B, score=None, seed=2**40)]
    append(store, *rows)
    assert read_rationales(store).drop("current", "usable").to_dicts() == rows


def test_the_records_and_the_schemas_agree() -> None:
    assert [field.name for field in fields(RationaleRow)] == SCHEMA.names
    assert [field.name for field in fields(QuarantineRow)] == QUARANTINE_SCHEMA.names


def test_a_changed_key_makes_the_older_rows_earlier_versions(store: StorePaths) -> None:
    append(store, *four(A, "old"), *four(B, "old"))
    append(store, *four(A, "new"))
    assert read_rationales(store).height == 12
    assert flags(store, "current", "image", "request_key") == [(B, "old")] * 4 + [(A, "new")] * 4
    assert flags(store, "usable", "image", "request_key") == [(B, "old")] * 4 + [(A, "new")] * 4


def test_a_newer_version_that_was_rejected_takes_the_accepted_one_out_of_use(store: StorePaths) -> None:
    append(store, *four(A, "old"))
    append(store, *four(A, "new", status="rejected"))
    assert flags(store, "current", "request_key") == ["new"] * 4
    assert flags(store, "usable", "request_key") == []
    assert usable_texts(store, [A]) == {A: ("", "", "", "")}


def test_going_back_by_a_copy_makes_the_earlier_version_current_once(store: StorePaths) -> None:
    append(store, row(A, key="old", status="rejected"), *four(A, "old", attempt=1), *four(B, "old"))
    append(store, *four(A, "new", text="new"))
    before = read_rationales(store).filter(pl.col("request_key") == "old")
    copy_version(store, {A: "old"}, PRODUCER)
    after = read_rationales(store)
    copied = after.filter(pl.col("current") & (pl.col("image") == A))
    assert copied.drop("current", "usable").equals(
        before.filter(pl.col("image") == A).drop("current", "usable")
    )
    assert copied["usable"].to_list() == [False, True, True, True, True]
    assert usable_texts(store, [A])[A] == tuple(f"{kind.field} of {A}" for kind in KINDS)
    assert after.filter(pl.col("current") & (pl.col("image") == B)).height == 4, "others are not touched"


def test_going_back_and_forth_does_not_multiply_the_copies(store: StorePaths) -> None:
    append(store, *four(A, "old"))
    append(store, *four(A, "new"))
    for key in ("old", "new", "old", "new", "old"):
        copy_version(store, {A: key}, PRODUCER)
        assert flags(store, "current", "request_key") == [key] * 4
    assert read_rationales(store).height == 4 * 7


def test_going_back_for_nothing_writes_nothing(store: StorePaths) -> None:
    copy_version(store, {}, PRODUCER)
    assert load_manifest(store).parts == ()


def test_of_several_accepted_attempts_the_last_counts(store: StorePaths) -> None:
    append(
        store,
        row(A, attempt=0, text="first"),
        row(A, attempt=1, text="second"),
        row(A, attempt=2, text="third", status="rejected"),
    )
    assert flags(store, "current", "attempt") == [0, 1, 2]
    assert flags(store, "usable", "text") == ["second"]


def test_an_attempt_that_was_asked_for_again_is_replaced_by_its_newer_verdict(store: StorePaths) -> None:
    """A picture asked again under the same key, because more attempts are allowed now."""
    append(store, row(A, attempt=0, text="old"), row(A, attempt=1, text="old last"))
    append(store, row(A, attempt=0, text="new"), row(A, attempt=1, text="no", status="rejected"))
    assert flags(store, "current", "text") == ["new", "no"]
    assert flags(store, "usable", "text") == ["new"]


def test_each_kind_has_its_own_attempts(store: StorePaths) -> None:
    append(
        store, row(A, KINDS[0]), row(A, KINDS[1], status="rejected"), row(A, KINDS[1], attempt=1, text="x")
    )
    assert usable_texts(store, [A, "absent.jpg"]) == {A: (f"positive_glimpse of {A}", "x", "", "")}


def test_texts_are_of_the_pictures_asked_for(store: StorePaths) -> None:
    append(store, *four(A), *four(B))
    assert list(usable_texts(store, [B])) == [B]


ROWS = st.builds(
    row,
    st.sampled_from([A, B]),
    st.sampled_from(KINDS[:2]),
    st.sampled_from(["k1", "k2"]),
    attempt=st.integers(0, 2),
    status=st.sampled_from(["accepted", "rejected"]),
    text=st.text("xyz", min_size=1, max_size=3),
)


def expected_flags(rows: Sequence[Row]) -> list[tuple[bool, bool]]:
    """The rule of the module, row by row."""
    newest = {r["image"]: r["request_key"] for r in rows}
    last = {_name(r): i for i, r in enumerate(rows)}
    current = [newest[r["image"]] == r["request_key"] and last[_name(r)] == i for i, r in enumerate(rows)]
    accepted: dict[tuple[str, ...], list[int]] = {}
    for r, counts in zip(rows, current, strict=True):
        if counts and r["status"] == "accepted":
            accepted.setdefault((r["image"], r["aspect"], r["polarity"]), []).append(r["attempt"])
    return [
        (
            counts,
            counts
            and r["status"] == "accepted"
            and r["attempt"] == max(accepted[r["image"], r["aspect"], r["polarity"]]),
        )
        for r, counts in zip(rows, current, strict=True)
    ]


def _name(r: Row) -> tuple[Any, ...]:
    return tuple(r[field] for field in ("image", "request_key", "aspect", "polarity", "attempt"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(ROWS, min_size=1, max_size=9), max_size=2))
def test_the_rule_holds_for_any_rows(parts: list[list[Row]]) -> None:
    with TemporaryDirectory() as folder:
        paths = StorePaths(Path(folder))
        for rows in parts:
            append(paths, *rows)
        found = read_rationales(paths, []).select("current", "usable").rows()
        used = read_rationales(paths, []).filter("usable")
    assert found == expected_flags([row for rows in parts for row in rows])
    assert used.height <= 4, "never more than one text for each of two kinds of two pictures"


def test_only_the_columns_asked_for_come_back(store: StorePaths) -> None:
    append(store, *four(A))
    assert read_rationales(store, ["text", "image", "text"]).columns == ["text", "image", "current", "usable"]


def test_a_part_is_written_whole_or_not_at_all(store: StorePaths) -> None:
    append(store, *four(A))
    with pytest.raises(pa.ArrowInvalid):
        append(store, *four(B), row(B, text=None))
    assert read_rationales(store)["image"].to_list() == [A] * 4
    assert [path.name for path in store.rationales.iterdir()] == ["part-00000.parquet"]


def test_a_part_that_was_not_listed_before_a_kill_does_not_count(store: StorePaths) -> None:
    append(store, *four(A))
    listed = store.rationales / "part-00000.parquet"
    listed.with_name("part-00001.parquet").write_bytes(listed.read_bytes())
    assert read_rationales(store).height == 4
    assert remove_leftovers(store) == [store.rationales / "part-00001.parquet"]
    append(store, *four(B))
    assert [path.name for path in sorted(store.rationales.iterdir())] == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]


def test_no_rows_make_no_part(store: StorePaths) -> None:
    append(store)
    append_quarantine(store, [], PRODUCER)
    assert load_manifest(store).parts == ()


def test_parts_open_as_they_are(store: StorePaths) -> None:
    """In polars and Arrow, without this package, with the types of the schema."""
    append(store, row(A), row(B, score=3))
    append(store, *four(A, "new"))
    append_quarantine(store, [failure(A)], PRODUCER)
    frame = pl.read_parquet(store.rationales / "*.parquet")
    assert frame.height == 6
    assert frame.schema["attempt"] == pl.Int16
    assert frame["score"].to_list()[:2] == [None, 3]
    assert all(pq.read_schema(path).equals(SCHEMA) for path in store.rationales.iterdir())
    assert all(pq.read_schema(path).equals(QUARANTINE_SCHEMA) for path in store.quarantine.iterdir())


def test_a_folder_name_is_no_pattern(tmp_path: Path) -> None:
    """Brackets are no glob and "seed=1" is no column."""
    store = empty_store(tmp_path / "seed=1" / "run [a-z]*")
    append(store, *four(A))
    assert read_rationales(store).columns == [*SCHEMA.names, "current", "usable"]
    assert read_rationales(store).height == 4


def test_the_newest_failure_of_a_picture_and_stage_counts(store: StorePaths) -> None:
    append_quarantine(store, [failure(A, reason="one"), failure(B)], PRODUCER)
    append_quarantine(store, [failure(A, "embed-teacher"), failure(A, reason="two")], PRODUCER)
    found = read_quarantine(store).select("image", "stage", "reason").rows()
    assert found == [(B, "data", "r"), (A, "embed-teacher", "r"), (A, "data", "two")]
    append_quarantine(store, [failure(A, reason="one")], PRODUCER)
    assert read_quarantine(store).rows()[-1] == (A, "data", "one", 1, "raw", fingerprint([A, "one"]))


def test_rationales_and_failures_do_not_mix(store: StorePaths) -> None:
    append(store, *four(A))
    append_quarantine(store, [failure(B)], PRODUCER)
    assert set(read_rationales(store)["image"]) == {A}
    assert set(read_quarantine(store)["image"]) == {B}


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign"])
def test_a_damaged_part_is_named(store: StorePaths, damage: str) -> None:
    append(store, *four(A))
    part = store.rationales / "part-00000.parquet"
    if damage == "missing":
        part.unlink()
    elif damage == "cut":
        os.truncate(part, part.stat().st_size // 2)
    else:
        pq.write_table(pa.table({"image": [A]}), part)
    message = rf"^part {part} cannot be read \(.+\); find the damage with `mipd-pipe inspect verify`$"
    with pytest.raises(UserError, match=message):
        read_rationales(store)


def test_the_key_of_four_texts_is_decided_by_bank_and_texts() -> None:
    texts = ("a", "b", "c", "d")
    assert texts_key("bank", texts) == fingerprint(["bank", "a", "b", "c", "d"])
    assert len({texts_key("bank", texts), texts_key("other", texts), texts_key("bank", texts[::-1])}) == 3
