"""Hard negatives are the nearest pictures of other groups, found alike on every call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cache.manifest import add_parts, put_in_force
from cache.mining import mine_negatives, nearest_of_others
from cache.vectors import RATIONALES, VectorKey, write_vectors
from tests.cache.small_store import PRODUCER, empty_store


def test_nearest_of_others_by_hand() -> None:
    at = np.radians([0, 10, 20, 90, 180])
    vectors = np.stack([np.cos(at), np.sin(at)], axis=1).astype(np.float32)
    rows = nearest_of_others(
        vectors * np.array([[1], [9], [1], [1], [1]], np.float32), ["a", "a", "b", "b", "c"], 3
    )
    assert rows[:2].tolist() == [[2, 3, 4], [2, 3, 4]]
    assert rows[2].tolist() == [1, 0, 4]
    assert rows[4].tolist() == [3, 2, 1]


def test_too_few_others_leave_places_empty() -> None:
    rows = nearest_of_others(np.eye(3, dtype=np.float32), ["a", "a", "b"], 2)
    assert rows[:2].tolist() == [[2, -1], [2, -1]]
    assert nearest_of_others(np.eye(2, dtype=np.float32), ["a", "a"], 1).tolist() == [[-1], [-1]]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 6), st.integers(0, 99))
def test_mined_rows_are_what_sorting_all_pairs_gives(groups: list[str], count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(groups), 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = nearest_of_others(vectors, groups, count)
    assert np.array_equal(found, nearest_of_others(vectors, groups, count))
    for row, similarities in enumerate(unit @ unit.T):
        others = [i for i in np.argsort(-similarities, kind="stable") if groups[i] != groups[row]]
        assert [i for i in found[row] if i >= 0] == others[:count]


def test_only_positive_glimpses_of_the_asked_pictures_are_mined(tmp_path: Path) -> None:
    store = empty_store(tmp_path)
    keys, vectors = [], []
    for image, angle in {"a": 0, "b": 1, "c": 3, "held-out": 2}.items():
        for aspect, polarity in (("glimpse", "positive"), ("glimpse", "negative"), ("gaze", "positive")):
            keys.append(VectorKey(image, aspect, polarity))
            counts = (aspect, polarity) == ("glimpse", "positive")
            turn = np.radians(angle if counts else 0)  # by the other kinds "c" would lie on "a"
            vectors.append([np.cos(turn), np.sin(turn)])
    rows = [key.image for key in keys]
    put_in_force(store, RATIONALES, "f")
    part = write_vectors(store, RATIONALES, keys, rows, np.array(vectors, dtype=np.float32), "f", PRODUCER)
    add_parts(store, [part])
    mined = mine_negatives(store, {"a": "x", "b": "y", "c": "z", "silent": "z"}, 1)
    assert mined == {"a": ["b"], "b": ["a"], "c": ["b"]}
    assert mine_negatives(store, {"silent": "z"}, 1) == {}
