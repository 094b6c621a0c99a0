"""Orders are those of a plain stable sort, and products are exact."""

from __future__ import annotations

from itertools import islice
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.teacher.asking.ranking import STEPS, falling, in_steps


def units(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    scaled: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


@given(st.lists(st.integers(-3, 3), max_size=40), st.integers(1, 12))
def test_the_order_is_that_of_a_stable_sort_however_little_is_sorted_at_first(
    values: list[int], first: int
) -> None:
    order = np.array(values, np.float32)
    assert list(falling(order, first)) == np.argsort(-order, kind="stable").tolist()


def test_a_whole_sort_is_not_done_for_the_first_few(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_lengths: list[int] = []
    argsort = np.argsort

    def counting(values: NDArray[np.float32], kind: Literal["stable"]) -> NDArray[np.intp]:
        sorted_lengths.append(len(values))
        return argsort(values, kind=kind)

    monkeypatch.setattr(np, "argsort", counting)
    order = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    found = list(islice(falling(order, 20), 20))
    assert len(sorted_lengths) == 1
    assert sorted_lengths[0] < 200
    assert order[found].tolist() == sorted(order.tolist(), reverse=True)[:20]


@pytest.mark.parametrize("width", [8, 256, 768])
def test_products_of_steps_are_exact_in_any_order_of_summation(width: int) -> None:
    """As they must be, or the same annotation would have other contrasts on another machine."""
    rows = in_steps(units(300, width))
    three = rows[:100] + rows[100:200] + rows[200:]
    exact = three.astype(np.int64) @ rows.astype(np.int64).T
    shuffled = np.random.default_rng(1).permutation(width)
    one_by_one = np.stack([rows @ query for query in three])
    for found in (three @ rows.T, three[:, shuffled] @ rows[:, shuffled].T, one_by_one):
        assert np.array_equal(found.astype(np.int64), exact)
    assert np.abs(three).max() > 100, "fine steps"
    assert 3 * (STEPS + np.sqrt(4096)) ** 2 < 2**24, "also of the widest encoder"


def test_steps_are_as_near_as_the_vectors() -> None:
    rows = units(200, 256)
    assert np.abs(in_steps(rows) @ in_steps(rows).T / STEPS**2 - rows @ rows.T).max() < 2e-3
