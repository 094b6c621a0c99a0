"""Boxes follow their pictures into every frame, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cache.errors import UserError
from stages.data.geometry import MODES, Geometry, Mode

modes = st.sampled_from(MODES)
sides = st.integers(8, 400)


def frame(mode: Mode, flip: bool = False, size: int = 64) -> Geometry:
    return Geometry(size, mode, 4, 4, class_tokens=1, flip=flip)


@given(modes, st.booleans(), sides, sides, st.tuples(*[st.floats(0, 1)] * 4))
def test_a_box_comes_back_where_the_frame_shows_it(
    mode: Mode, flip: bool, width: int, height: int, shares: tuple[float, ...]
) -> None:
    x1, x2 = sorted(share * width for share in shares[:2])
    y1, y2 = sorted(share * height for share in shares[2:])
    geometry = frame(mode, flip)
    framed = geometry.box_to_frame((x1, y1, x2, y2), width, height)
    if framed is None:
        return
    assert all(0 <= value <= 1 for value in framed)
    back = geometry.box_to_picture(framed, width, height)
    if mode != "crop":
        assert back == pytest.approx((x1, y1, x2, y2), abs=1e-6 * max(width, height))
    assert x1 - 1e-6 * width <= back[0] <= back[2] <= x2 + 1e-6 * width
    assert y1 - 1e-6 * height <= back[1] <= back[3] <= y2 + 1e-6 * height


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(160, 96), (96, 160), (128, 128)])
def test_a_painted_rectangle_lies_where_its_box_says(mode: Mode, flip: bool, size: tuple[int, int]) -> None:
    box = (52, 50, 84, 78)
    picture = Image.new("RGB", size)
    ImageDraw.Draw(picture).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
    geometry = frame(mode, flip)
    rows, cols = np.nonzero(geometry.place(picture)[..., 0] > 127)
    painted = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]) / geometry.size
    framed = geometry.box_to_frame(box, *size)
    assert framed is not None
    assert painted == pytest.approx(framed, abs=1.01 / geometry.size)


def test_a_box_that_the_crop_cuts_off_is_none() -> None:
    assert frame("crop").box_to_frame((0, 0, 10, 100), 300, 100) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2)])
@pytest.mark.parametrize("mode", MODES)
def test_extreme_shapes_fill_a_frame(mode: Mode, size: tuple[int, int]) -> None:
    assert frame(mode).place(Image.new("RGB", size)).shape == (64, 64, 3)


def test_a_header_with_unknown_fields_is_refused() -> None:
    assert Geometry.from_json(frame("pad").to_json()) == frame("pad")
    with pytest.raises(UserError, match=r"is not one this version can read .*rebuild the bank"):
        Geometry.from_json({**frame("pad").to_json(), "tilt": 3})
