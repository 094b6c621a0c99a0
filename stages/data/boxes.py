"""Reads the grounding of one role: a box in pixels, clipped to its picture, or none."""

from __future__ import annotations

from stages.data.names import short
from stages.data.problem import EntryError
from stages.data.sample import Box

NO_BOX = [-1, -1, -1, -1]  # SWiG: the role's noun is not in the picture, or its place is everywhere
LARGEST = 10_000_000  # no picture has a longer side; also keeps a number of 400 digits out of a float


def read_box(value: object, width: int, height: int) -> tuple[Box | None, bool]:
    """The box as floats, and whether it had to be clipped to ``0 0 width height``.

    Raises EntryError for anything but four numbers, and for an inverted, empty or wholly outside box.
    """
    if value == NO_BOX:
        return None, False
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_pixel, value)):
        raise EntryError(f"box {short(value)} is not four numbers x1 y1 x2 y2 of at most {LARGEST} pixels")
    x1, y1, x2, y2 = (float(number) for number in value)
    if x2 < x1 or y2 < y1:
        raise EntryError(f"box {value} is inverted: x1 < x2 and y1 < y2 are needed")
    if x1 == x2 or y1 == y2:
        raise EntryError(f"box {value} is empty: x1 < x2 and y1 < y2 are needed")
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise EntryError(f"box {value} lies wholly outside the picture of {width} x {height} pixels")
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    return clipped, clipped != (x1, y1, x2, y2)


def _is_pixel(number: object) -> bool:
    # NaN and infinity, which Python's JSON reader lets through, fail the comparison.
    return type(number) in (int, float) and -LARGEST <= number <= LARGEST  # type: ignore[operator]
