from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data.boxes import read_box
from stages.data.problem import EntryError

side = st.integers(1, 2000)
number = st.integers(-500, 2500) | st.floats(-500, 2500)


@given(st.tuples(number, number, number, number), side, side)
def test_a_box_is_clipped_to_the_part_that_lies_in_the_picture(
    box: tuple[float, float, float, float], width: int, height: int
) -> None:
    x1, y1, x2, y2 = box
    visible = max(x1, 0) < min(x2, width) and max(y1, 0) < min(y2, height)
    if not visible:
        if list(box) != [-1, -1, -1, -1]:
            with pytest.raises(EntryError, match=r"inverted|empty|wholly outside"):
                read_box(list(box), width, height)
        return
    found, clipped = read_box(list(box), width, height)
    assert found == (max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
    assert clipped == (found != box)
    assert read_box(list(found), width, height) == (found, False), "clipping twice changes nothing"


def test_four_times_minus_one_is_no_box() -> None:
    assert read_box([-1, -1, -1, -1], 64, 48) == (None, False)
    assert read_box([-1.0, -1.0, -1.0, -1.0], 64, 48) == (None, False)


def test_a_box_may_touch_the_border() -> None:
    assert read_box([0, 0, 64, 48], 64, 48) == ((0.0, 0.0, 64.0, 48.0), False)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([30, 2, 1, 40], "box [30, 2, 1, 40] is inverted: x1 < x2 and y1 < y2 are needed"),
        ([1, 40, 30, 2], "box [1, 40, 30, 2] is inverted: x1 < x2 and y1 < y2 are needed"),
        ([5, 2, 5, 40], "box [5, 2, 5, 40] is empty: x1 < x2 and y1 < y2 are needed"),
        ([1, 40, 30, 40], "box [1, 40, 30, 40] is empty: x1 < x2 and y1 < y2 are needed"),
        ([64, 2, 90, 40], "box [64, 2, 90, 40] lies wholly outside the picture of 64 x 48 pixels"),
        ([-9, -9, 0, 40], "box [-9, -9, 0, 40] lies wholly outside the picture of 64 x 48 pixels"),
        ([1, 2, 3], "box [1, 2, 3] is not four numbers x1 y1 x2 y2"),
        ([1, 2, 3, "4"], "box [1, 2, 3, '4'] is not four numbers x1 y1 x2 y2"),
        ([1, 2, 3, True], "box [1, 2, 3, True] is not four numbers x1 y1 x2 y2"),
        ([1, 2, 3, math.nan], "box [1, 2, 3, nan] is not four numbers x1 y1 x2 y2"),
        ([1, 2, 3, math.inf], "box [1, 2, 3, inf] is not four numbers x1 y1 x2 y2"),
        ([1, 2, 3, 10**400], "of at most 10000000 pixels"),
        (None, "box None is not four numbers x1 y1 x2 y2"),
    ],
)
def test_a_bad_box_is_refused_with_its_reason(box: object, message: str) -> None:
    with pytest.raises(EntryError) as caught:
        read_box(box, 64, 48)
    assert message in str(caught.value)
