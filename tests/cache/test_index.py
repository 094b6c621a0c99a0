"""The index finds the exact nearest keys, and is refused where it is not of the vectors in the store."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from cache.errors import UserError
from cache.index import Hit, build_index, index_ids, load_index, search
from cache.manifest import load_manifest, remove_leftovers
from cache.paths import StorePaths
from cache.vectors import PICTURES, RATIONALES, Floats, VectorKey, matrix, read_vectors
from tests.cache.small_store import IMAGES, PRODUCER, bank_header, empty_store, noise, pool, small_store

HEADER = bank_header()
KEYS = [VectorKey(f"{i}.jpg") for i in range(200)]
BUILD = r"; run `mipd-pipe embed-teacher` to build it$"


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """Two hundred picture vectors in two parts, with their index."""
    paths = empty_store(tmp_path)
    pool(paths, HEADER, PICTURES, dict.fromkeys(KEYS[:120], "1"))
    pool(paths, HEADER, PICTURES, dict.fromkeys(KEYS[120:], "1"))
    assert build_index(paths, PICTURES, PRODUCER)
    return paths


def index_file(paths: StorePaths, family: str = PICTURES) -> Path:
    return paths.root / load_manifest(paths).of("index", family)[-1].path


def nearest(queries: Floats, count: int) -> tuple[list[list[str]], Floats]:
    vectors = np.stack([noise(8, seed=key.id) for key in KEYS])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ unit.T
    order = np.argsort(-cosines, axis=1)[:, :count]
    return [[KEYS[i].image for i in row] for row in order], np.take_along_axis(cosines, order, axis=1)


def test_search_finds_the_exact_nearest_first(store: StorePaths) -> None:
    queries = 100 * noise(9, 8, seed="queries")
    hits = search(store, PICTURES, queries, 5)
    images, cosines = nearest(queries, 5)
    assert [[hit.image for hit in row] for row in hits] == images
    assert np.allclose([[hit.similarity for hit in row] for row in hits], cosines, atol=1e-6)


def test_every_vector_is_its_own_nearest(store: StorePaths) -> None:
    frame = read_vectors(store, PICTURES)
    hits = search(store, PICTURES, matrix(frame["vector"]), 1)
    assert [row[0].image for row in hits] == frame["image"].to_list()
    assert min(row[0].similarity for row in hits) == pytest.approx(1, abs=1e-6)


def test_a_hit_says_which_rationale_it_is(tmp_path: Path) -> None:
    paths = small_store(tmp_path)
    key = VectorKey(IMAGES[3], "gaze", "negative")
    ((hit,),) = search(paths, RATIONALES, noise(1, 8, seed=key.id).reshape(1, 8), 1)
    assert (hit.image, hit.aspect, hit.polarity) == (IMAGES[3], "gaze", "negative")
    assert hit.similarity == pytest.approx(1, abs=1e-6)


def test_no_more_hits_than_vectors(store: StorePaths) -> None:
    (hits,) = search(store, PICTURES, noise(1, 8), 1000)
    assert len({hit.image for hit in hits}) == len(hits) == len(KEYS)


def test_the_index_carries_the_ids_of_the_keys(store: StorePaths) -> None:
    assert index_ids(store, PICTURES).tolist() == sorted(key.id for key in KEYS)


def test_an_index_of_the_same_vectors_is_not_built_again(store: StorePaths) -> None:
    before = index_file(store)
    assert not build_index(store, PICTURES, PRODUCER)
    assert index_file(store) == before


def test_nothing_is_built_where_there_are_no_vectors(store: StorePaths) -> None:
    assert not build_index(store, RATIONALES, PRODUCER)
    assert load_manifest(store).of("index", RATIONALES) == []


def test_a_stale_index_is_refused_and_replaced(store: StorePaths) -> None:
    pool(store, HEADER, PICTURES, {VectorKey("new.jpg"): "1", KEYS[0]: "2"})
    stale = index_file(store)
    with pytest.raises(UserError, match=rf"^{stale} is not of the vectors now in the store{BUILD}"):
        search(store, PICTURES, noise(1, 8), 1)
    assert build_index(store, PICTURES, PRODUCER)
    assert not stale.exists()
    assert len(load_manifest(store).of("index", PICTURES)) == 1
    query = noise(8, seed=VectorKey("new.jpg").id).reshape(1, 8)
    assert search(store, PICTURES, query, 1)[0][0].image == "new.jpg"
    assert len(index_ids(store, PICTURES)) == len(KEYS) + 1


def test_a_picture_of_a_newer_version_is_found_by_its_newer_rationales_alone(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    pool(paths, HEADER, RATIONALES, {VectorKey("a.jpg", "gaze", "positive"): "old"})
    pool(paths, HEADER, RATIONALES, {VectorKey("a.jpg", "glimpse", "positive"): "new"})
    build_index(paths, RATIONALES, PRODUCER)
    (hits,) = search(paths, RATIONALES, noise(1, 8), 9)
    assert [(hit.aspect, hit.polarity) for hit in hits] == [("glimpse", "positive")]


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    paths = empty_store(tmp_path)
    with pytest.raises(UserError, match=rf"^the store at {tmp_path} has no index of pictures{BUILD}"):
        search(paths, PICTURES, noise(1, 8), 1)


@pytest.mark.parametrize("damage", ["deleted", "cut", "foreign"])
def test_a_damaged_index_is_named_and_can_be_built_again(store: StorePaths, damage: str) -> None:
    path = index_file(store)
    if damage == "deleted":
        path.unlink()
        message = rf"^{path} is listed but missing{BUILD}"
    elif damage == "cut":
        os.truncate(path, 100)
        message = rf"^{path} is not of the vectors now in the store{BUILD}"
    else:
        path.write_bytes(b"x" * path.stat().st_size)
        message = (
            rf"^{path} cannot be read \((.|\n)+\); delete it, then run `mipd-pipe embed-teacher` to build it$"
        )
    with pytest.raises(UserError, match=message):
        load_index(store, PICTURES)
    path.unlink(missing_ok=True)  # as the message says
    assert build_index(store, PICTURES, PRODUCER)
    assert len(search(store, PICTURES, noise(1, 8), 3)[0]) == 3


def test_a_query_of_another_width_is_refused(store: StorePaths) -> None:
    message = (
        "^the query has 5 numbers, the index of pictures 8: it must come from the encoder that made the "
        "vectors; check the `embed` section of the config$"
    )
    with pytest.raises(UserError, match=message):
        search(store, PICTURES, noise(1, 5), 1)


def test_a_missing_faiss_is_answered_with_the_command(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # makes `import faiss` an ImportError
    message = (
        r'^searching the store needs FAISS, which is not installed: pip install "mipd-pipe\[cpu\]", or '
        r'"mipd-pipe\[gpu\]" on a machine with a GPU$'
    )
    with pytest.raises(UserError, match=message):
        search(store, PICTURES, noise(1, 8), 1)


def test_a_vector_of_zeros_does_not_break_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of one colour may have no direction at all."""
    paths = empty_store(tmp_path)
    monkeypatch.setattr("tests.cache.small_store.noise", lambda dim, seed: np.zeros(dim, np.float32))
    pool(paths, HEADER, PICTURES, {KEYS[0]: "1"})
    build_index(paths, PICTURES, PRODUCER)
    assert search(paths, PICTURES, noise(1, 8), 1) == [[Hit(KEYS[0].image, "", "", 0.0)]]


def test_an_index_that_was_not_listed_before_a_kill_is_removed(store: StorePaths) -> None:
    left = index_file(store).with_name("pictures-00007.faiss")
    left.write_bytes(b"left")
    assert remove_leftovers(store) == [left]
    assert load_index(store, PICTURES).ntotal == len(KEYS)
