"""Every vector lies beside its key, and the newest version of a picture hides its older ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from cache.kinds import KINDS
from cache.manifest import add_parts, load_manifest, put_in_force
from cache.parquet import read_column
from cache.paths import StorePaths
from cache.vectors import (
    PICTURES,
    RATIONALES,
    NewestVectors,
    VectorKey,
    label_schema,
    matrix,
    read_labels,
    read_vectors,
    vector_schema,
    write_labels,
    write_vectors,
)
from tests.cache.small_store import PRODUCER, bank_header, empty_store, noise, pool

A, B = "a.jpg", "žába.jpg"
HEADER = bank_header()


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    return empty_store(tmp_path)


def keys(image: str, *kinds: int) -> list[VectorKey]:
    return [VectorKey(image, *KINDS[kind]) for kind in kinds]


def found(paths: StorePaths, family: str = RATIONALES) -> list[VectorKey]:
    frame = read_vectors(paths, family, with_vectors=False)
    return [VectorKey(*key) for key in frame.select("image", "aspect", "polarity").iter_rows()]


def test_every_vector_comes_back_with_its_key(store: StorePaths) -> None:
    rows = [*keys(A, 0, 1), *keys(B, 3)]
    pool(store, HEADER, RATIONALES, dict.fromkeys(rows, "k"), dim=5)
    frame = read_vectors(store, RATIONALES)
    assert frame.columns == vector_schema(5).names
    for *key, vector in frame.select("image", "aspect", "polarity", "vector").iter_rows():
        assert np.array_equal(np.array(vector, np.float32), noise(5, seed=VectorKey(*key).id))
    assert frame["id"].to_list() == [key.id for key in rows]
    assert np.array_equal(matrix(frame["vector"]), np.stack([noise(5, seed=key.id) for key in rows]))
    assert matrix(frame.filter(pl.col("image") == B)["vector"]).tolist() == [
        noise(5, seed=rows[2].id).tolist()
    ]


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=3), st.text(max_size=3)), unique=True))
def test_ids_are_decided_by_the_key_and_differ(parts: list[tuple[str, str, str]]) -> None:
    ids = [VectorKey(*part).id for part in parts]
    assert len(set(ids)) == len(ids)
    assert all(0 <= id_ < 2**63 for id_ in ids)
    assert ids == [VectorKey(*part).id for part in parts]


def test_a_newer_row_key_hides_the_older_rationales_of_its_picture(store: StorePaths) -> None:
    """The newer version may have fewer, and none of the older ones may be found any more."""
    pool(store, HEADER, RATIONALES, dict.fromkeys([*keys(A, 0, 1, 2, 3), *keys(B, 0)], "old"))
    pool(store, HEADER, RATIONALES, dict.fromkeys(keys(A, 1, 2), "new"))
    assert found(store) == [*keys(B, 0), *keys(A, 1, 2)]
    assert set(read_vectors(store, RATIONALES)["row_key"]) == {"old", "new"}


def test_a_version_without_any_rationale_hides_the_older_ones(store: StorePaths) -> None:
    pool(store, HEADER, RATIONALES, dict.fromkeys([*keys(A, 0, 1), *keys(B, 0)], "old"))
    pool(store, HEADER, RATIONALES, {VectorKey(A): "new"})
    assert found(store) == keys(B, 0)


def test_going_back_to_an_earlier_row_key_finds_its_vectors_once(store: StorePaths) -> None:
    for row_key, kinds in (("old", (0, 1)), ("new", (2,)), ("old", (0, 1))):
        pool(store, HEADER, RATIONALES, dict.fromkeys(keys(A, *kinds), row_key))
    assert found(store) == keys(A, 0, 1)


def test_the_newest_picture_vector_counts(store: StorePaths) -> None:
    pool(store, HEADER, PICTURES, {VectorKey(A): "1", VectorKey(B): "1"})
    pool(store, HEADER, PICTURES, {VectorKey(A): "2"})
    assert found(store, PICTURES) == [VectorKey(B), VectorKey(A)]


def test_vectors_of_other_settings_do_not_count(store: StorePaths) -> None:
    pool(store, HEADER, PICTURES, {VectorKey(A): "1"}, dim=8)
    pool(store, bank_header(encoder="other"), PICTURES, {VectorKey(B): "1"}, dim=4)
    assert found(store, PICTURES) == [VectorKey(B)]
    put_in_force(store, PICTURES, HEADER.fingerprint)
    assert found(store, PICTURES) == [VectorKey(A)]


@pytest.mark.parametrize("with_vectors", [True, False])
def test_no_vectors_are_an_empty_frame(store: StorePaths, with_vectors: bool) -> None:
    frame = read_vectors(store, PICTURES, with_vectors)
    assert frame.height == 0
    assert frame.columns == vector_schema(1).names[: None if with_vectors else -1]


def test_labels_come_back_in_the_order_they_were_written(store: StorePaths) -> None:
    """The vocabulary's: class i of the student is row i."""
    labels = ["riding", "jumping", "žehlení", "aiming"]
    part = write_labels(store, "verbs", labels, ["x"] * 4, noise(4, 6), "v", PRODUCER)
    add_parts(store, [part])
    put_in_force(store, "verbs", "v")
    names, vectors = read_labels(store, "verbs")
    assert names == labels
    assert np.array_equal(vectors, noise(4, 6))
    assert vectors.dtype == np.float32


def test_the_labels_of_the_settings_in_force_count(store: StorePaths) -> None:
    for mark in ("1", "2"):
        part = write_labels(store, "nouns", [f"n{mark}"], ["x"], noise(1, 6, seed=mark), mark, PRODUCER)
        add_parts(store, [part])
    put_in_force(store, "nouns", "1")
    assert read_labels(store, "nouns")[0] == ["n1"]


def test_missing_labels_are_named(store: StorePaths) -> None:
    message = (
        rf"^the store at {store.root} has no label vectors of roles; make them with `mipd-pipe embed-teach"
    )
    with pytest.raises(UserError, match=message):
        read_labels(store, "roles")


def test_a_damaged_part_is_named(store: StorePaths) -> None:
    pool(store, HEADER, PICTURES, {VectorKey(A): "1"})
    part = store.vectors / "pictures-00000.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(UserError, match=rf"^part {part} cannot be read \(.+\); find the damage with"):
        read_vectors(store, PICTURES)


def test_parts_open_as_they_are(store: StorePaths) -> None:
    pool(store, HEADER, PICTURES, {VectorKey(A): "1"}, dim=6)
    labels = write_labels(store, "verbs", ["jumping"], ["x"], noise(1, 6), "v", PRODUCER)
    frame = pl.read_parquet(store.vectors / "pictures-00000.parquet")
    assert frame.schema["vector"] == pl.Array(pl.Float32, 6)
    assert pq.read_schema(store.vectors / "pictures-00000.parquet").equals(vector_schema(6))
    assert pq.read_schema(store.root / labels.path).equals(label_schema(6))


def test_keys_and_vectors_of_different_number_are_our_own_fault(store: StorePaths) -> None:
    with pytest.raises(AssertionError):
        write_vectors(store, PICTURES, [VectorKey(A)], ["1"], noise(2, 6), "f", PRODUCER)
    assert load_manifest(store).parts == ()


@pytest.mark.parametrize("values", [1, 5, 13, 35, 1000])
def test_blocks_bring_the_newest_vector_of_each_key_once(store: StorePaths, values: int) -> None:
    pool(store, HEADER, RATIONALES, dict.fromkeys([*keys(A, 0, 1, 2), *keys(B, 3)], "old"), dim=5)
    pool(store, HEADER, RATIONALES, dict.fromkeys([*keys("c.jpg", 0), *keys(A, 1, 3)], "new"), dim=5)
    pool(store, HEADER, RATIONALES, {VectorKey(B): "none left"}, dim=5)
    newest = NewestVectors(store, RATIONALES, load_manifest(store).in_force("vectors", RATIONALES))
    blocks = list(newest.blocks(values))
    frame = read_vectors(store, RATIONALES)
    assert len(newest) == frame.height == 3
    assert newest.width == 5
    assert np.concatenate([ids for ids, _ in blocks]).tolist() == frame["id"].to_list()
    assert np.array_equal(np.concatenate([vectors for _, vectors in blocks]), matrix(frame["vector"]))
    assert all(vectors.size <= max(values, 5) for _, vectors in blocks)
    some = frame["id"].to_numpy()[[0, 2]]
    chosen = list(newest.blocks(values, only=np.array([*some, 7])))
    assert np.concatenate([ids for ids, _ in chosen]).tolist() == some.tolist()
    assert np.array_equal(np.concatenate([vectors for _, vectors in chosen]), matrix(frame["vector"])[[0, 2]])


def test_groups_of_rows_without_a_wanted_one_are_not_read(store: StorePaths) -> None:
    many = [VectorKey(f"{number}.jpg") for number in range(600)]
    pool(store, HEADER, PICTURES, dict.fromkeys(many, "1"))
    (part,) = load_manifest(store).in_force("vectors", PICTURES)
    read = list(read_column(store.root / part.path, "vector", 1000, np.array([10, 599])))
    assert [(begin, len(column)) for begin, column in read] == [(0, 256), (512, 88)]


def test_a_damaged_part_is_named_while_its_blocks_are_read(store: StorePaths) -> None:
    pool(store, HEADER, PICTURES, {VectorKey(A): "1"})
    (part,) = load_manifest(store).in_force("vectors", PICTURES)
    newest = NewestVectors(store, PICTURES, [part])
    (store.root / part.path).write_bytes(b"x")
    with pytest.raises(UserError, match=rf"^part {store.root / part.path} cannot be read \("):
        list(newest.blocks())
