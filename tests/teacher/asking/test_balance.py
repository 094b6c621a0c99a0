"""Draws whose frequencies are those that were wanted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.teacher.asking.balance import balanced_weights, chances
from stages.teacher.asking.ranking import mixed


def drawn(near: list[list[int]], sources: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each candidate is drawn, on average."""
    found = np.zeros(len(weights))
    for some, count in zip(near, sources, strict=True):
        found[some] += count * weights[some] / weights[some].sum()
    return found


def test_a_candidate_that_many_are_near_is_not_drawn_more_often() -> None:
    near = [[1, 2], [0, 2], [0, 1], [2, 0]]  # by their sizes alone 2 would be drawn too often
    sources, wanted = np.array([5.0, 3.0, 4.0, 8.0]), np.array([8.0, 6.0, 6.0])
    by_size = drawn(near, sources, wanted)
    assert by_size[2] > 7
    assert drawn(near, sources, balanced_weights(near, sources, wanted)) == pytest.approx(wanted, rel=0.02)


def test_what_cannot_be_had_does_not_run_away() -> None:
    weights = balanced_weights([[0, 1], [0]], np.array([1.0, 9.0]), np.array([1.0, 9.0]))
    assert np.isfinite(weights).all()
    assert drawn([[0, 1], [0]], np.array([1.0, 9.0]), weights)[1] == pytest.approx(1.0, rel=1e-3)


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True), max_size=8))
def test_any_neighbourhoods_give_finite_weights_and_the_unwanted_none(near: list[list[int]]) -> None:
    wanted = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    weights = balanced_weights(near, np.ones(len(near)), wanted)
    assert np.isfinite(weights).all()
    assert weights[0] == 0
    assert (weights[1:] >= 0).all()


def test_the_largest_chance_is_a_weighted_draw() -> None:
    weights = np.array([1.0, 2.0, 5.0, 0.0])
    hashes = mixed(np.arange(40_000, dtype=np.uint64)).reshape(-1, 4)
    won = np.bincount([int(chances(some, weights).argmax()) for some in hashes], minlength=4)
    assert won / len(hashes) == pytest.approx(weights / weights.sum(), abs=0.015)


def test_without_weight_the_hash_decides_behind_all_others() -> None:
    order = chances(np.array([0.9, 0.1, 0.5]), np.array([0.0, 1e-9, 0.0])).argsort()[::-1]
    assert order.tolist() == [1, 0, 2]
