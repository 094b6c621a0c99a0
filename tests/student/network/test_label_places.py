"""Labels stay in the picture and off each other."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stages.data.sample import Box
from stages.student.network.label_places import Extent, overlap, place_labels

FRAME = Extent(800, 600)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x1, x2 = sorted(draw(st.lists(st.floats(0, 800), min_size=2, max_size=2)))
    y1, y2 = sorted(draw(st.lists(st.floats(0, 600), min_size=2, max_size=2)))
    return x1, y1, x2, y2


@given(st.lists(boxes(), max_size=6), st.lists(st.floats(20, 240), min_size=6, max_size=6))
def test_six_labels_never_overlap_nor_leave_the_picture(found: list[Box], widths: list[float]) -> None:
    labels = [Extent(width, 26) for width in widths[: len(found)]]
    places = place_labels(found, labels, FRAME)
    for place, label in zip(places, labels, strict=True):
        assert place[0] >= 0
        assert place[0] + label.width <= FRAME.width + 1e-6
        assert place[1] >= 0
        assert place[1] + label.height <= FRAME.height + 1e-6
    for a, b in itertools.combinations(places, 2):
        assert overlap(a, b) < 1e-6


def test_a_label_stands_on_its_box_where_there_is_room() -> None:
    (place,) = place_labels([(100, 100, 300, 300)], [Extent(80, 20)], FRAME)
    assert place == (100, 80, 180, 100)


def test_a_box_that_fills_the_picture_has_its_label_inside() -> None:
    (place,) = place_labels([(0, 0, 800, 600)], [Extent(80, 20)], FRAME)
    assert place == (0, 0, 80, 20)


def test_the_second_of_two_equal_boxes_gives_way() -> None:
    box = (100.0, 100.0, 300.0, 300.0)
    first, second = place_labels([box, box], [Extent(80, 20)] * 2, FRAME)
    assert overlap(first, second) == 0
    assert second[1] >= 80, "and stays near its box"
