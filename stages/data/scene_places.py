"""Places of the drawn scenes: each a background that fills the picture.

Coordinates are those of a pen at the lower left corner with the picture's height as unit, so y runs from
0 to 1 and x from 0 to `wide`. The ground's front edge, where figures stand, lies below y = 0.2.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from PIL import Image

from stages.data.scene_pen import Color, Pen

HAZE_SHARE = 0.45  # backgrounds are washed out, so that what stands before them is what meets the eye
_HAZE = (250, 250, 246)
_SKY, _CLOUD, _SUN = (170, 214, 244), (250, 252, 254), (255, 224, 110)


def _sky(pen: Pen, wide: float, rng: Random, sky: Color = _SKY) -> None:
    pen.box(0, 0, wide, 1, sky, ink=False)
    for _ in range(2):
        x, y = rng.uniform(0, wide), rng.uniform(0.84, 0.95)
        for dx, r in ((-0.08, 0.035), (0.0, 0.05), (0.08, 0.035)):
            pen.ellipse(x + dx, y, 1.4 * r, r, _CLOUD, ink=False)


def _hills(pen: Pen, wide: float, rng: Random, color: Color, level: float) -> None:
    start = rng.uniform(-0.3, 0.0)
    for step in range(4):
        pen.ellipse(start + 0.55 * step, level, 0.42, rng.uniform(0.08, 0.16), color, ink=False)


def _field(pen: Pen, wide: float, rng: Random) -> None:
    _sky(pen, wide, rng)
    _hills(pen, wide, rng, (138, 190, 110), 0.42)
    pen.box(0, 0, wide, 0.43, (150, 206, 110), ink=False)
    for _ in range(14):
        x, y = rng.uniform(0, wide), rng.uniform(0.03, 0.38)
        petal = rng.choice(((255, 255, 255), (250, 220, 90), (240, 150, 180)))
        pen.line([(x, y), (x, y + 0.02)], 0.006, (96, 160, 74), ink=False)
        pen.ellipse(x, y + 0.025, 0.011, 0.011, petal, ink=False)


def _beach(pen: Pen, wide: float, rng: Random) -> None:
    _sky(pen, wide, rng)
    pen.ellipse(rng.uniform(0.1, wide - 0.1), 0.86, 0.06, 0.06, _SUN, ink=False)
    pen.box(0, 0, wide, 0.56, (64, 150, 200), ink=False)
    for _ in range(8):
        x, y = rng.uniform(0, wide), rng.uniform(0.4, 0.54)
        pen.line([(x, y), (x + 0.08, y)], 0.006, (200, 230, 244), ink=False)
    pen.box(0, 0, wide, 0.36, (244, 222, 164), ink=False)
    pen.box(0, 0.34, wide, 0.37, (252, 248, 236), ink=False)


def _street(pen: Pen, wide: float, rng: Random) -> None:
    pen.box(0, 0, wide, 1, (204, 218, 232), ink=False)
    x = rng.uniform(-0.2, 0.0)
    while x < wide:
        width, top = rng.uniform(0.2, 0.32), rng.uniform(0.66, 0.94)
        pen.box(
            x, 0.38, x + width, top, rng.choice(((176, 168, 176), (190, 164, 148), (160, 174, 188))), False
        )
        y = 0.46
        while y < top - 0.08:
            for share in (0.18, 0.58):
                left = x + share * width
                pen.box(left, y, left + 0.24 * width, y + 0.05, (228, 236, 240), ink=False)
            y += 0.12
        x += width + 0.01
    pen.box(0, 0, wide, 0.4, (200, 196, 190), ink=False)
    pen.box(0, 0, wide, 0.33, (116, 116, 124), ink=False)
    for step in range(8):
        pen.box(0.3 * step - 0.05, 0.045, 0.3 * step + 0.09, 0.065, (240, 236, 220), ink=False)


def _desert(pen: Pen, wide: float, rng: Random) -> None:
    pen.box(0, 0, wide, 1, (252, 224, 178), ink=False)
    pen.ellipse(rng.uniform(0.1, wide - 0.1), 0.85, 0.07, 0.07, (255, 190, 80), ink=False)
    _hills(pen, wide, rng, (226, 172, 108), 0.42)
    pen.box(0, 0, wide, 0.42, (236, 190, 124), ink=False)
    for _ in range(2):
        x = rng.uniform(0.05, wide - 0.05)
        green = (90, 140, 84)
        pen.line([(x, 0.4), (x, 0.58)], 0.03, green, ink=False)
        pen.line([(x, 0.46), (x + 0.05, 0.46), (x + 0.05, 0.52)], 0.018, green, ink=False)
        pen.line([(x, 0.49), (x - 0.05, 0.49), (x - 0.05, 0.54)], 0.018, green, ink=False)
    for _ in range(6):
        x, y = rng.uniform(0, wide), rng.uniform(0.04, 0.36)
        pen.line([(x, y), (x + 0.07, y + 0.012), (x + 0.14, y)], 0.007, (216, 166, 102), ink=False)


def _forest(pen: Pen, wide: float, rng: Random) -> None:
    pen.box(0, 0, wide, 1, (176, 206, 168), ink=False)
    for step in range(9):
        x = 0.2 * step + rng.uniform(-0.06, 0.06)
        pen.box(x, 0.38, x + rng.uniform(0.04, 0.07), 1.0, rng.choice(((126, 98, 74), (108, 84, 66))), False)
    for step in range(8):
        pen.ellipse(0.24 * step, 0.98, 0.2, rng.uniform(0.1, 0.17), (84, 136, 84), ink=False)
    pen.box(0, 0, wide, 0.4, (122, 148, 84), ink=False)
    for _ in range(10):
        x, y = rng.uniform(0, wide), rng.uniform(0.04, 0.36)
        pen.ellipse(x, y, 0.02, 0.009, rng.choice(((160, 120, 70), (96, 124, 66))), ink=False)


def _snowfield(pen: Pen, wide: float, rng: Random) -> None:
    pen.box(0, 0, wide, 1, (168, 190, 220), ink=False)
    for step in range(4):
        x, top = 0.5 * step + rng.uniform(-0.15, 0.1), rng.uniform(0.68, 0.84)
        pen.polygon([(x - 0.34, 0.4), (x, top), (x + 0.34, 0.4)], (126, 146, 178), ink=False)
        pen.polygon([(x - 0.11, top - 0.11), (x, top), (x + 0.11, top - 0.11)], (250, 252, 255), ink=False)
    pen.box(0, 0, wide, 0.42, (240, 245, 252), ink=False)
    for _ in range(26):
        pen.ellipse(rng.uniform(0, wide), rng.uniform(0.42, 1), 0.009, 0.009, (255, 255, 255), ink=False)


def _room(pen: Pen, wide: float, rng: Random) -> None:
    wall = rng.choice(((240, 226, 200), (214, 224, 206), (226, 212, 226)))
    pen.box(0, 0, wide, 1, wall, ink=False)
    x = rng.uniform(0.1, wide - 0.5)
    pen.box(x, 0.62, x + 0.32, 0.92, (250, 250, 250), ink=False)
    pen.box(x + 0.02, 0.64, x + 0.15, 0.9, _SKY, ink=False)
    pen.box(x + 0.17, 0.64, x + 0.3, 0.9, _SKY, ink=False)
    pen.box(0, 0, wide, 0.4, (190, 148, 104), ink=False)
    for y in (0.1, 0.2, 0.3):
        pen.box(0, y, wide, y + 0.006, (166, 124, 84), ink=False)
    pen.box(0, 0.39, wide, 0.42, (248, 246, 240), ink=False)


def _kitchen(pen: Pen, wide: float, rng: Random) -> None:
    pen.box(0, 0, wide, 1, (222, 236, 240), ink=False)
    for step in range(16):
        pen.box(0.1 * step, 0.42, 0.1 * step + 0.004, 0.74, (196, 212, 218), ink=False)
    for y in (0.5, 0.58, 0.66, 0.74):
        pen.box(0, y, wide, y + 0.004, (196, 212, 218), ink=False)
    x = rng.uniform(-0.2, 0.0)
    while x < wide:
        pen.box(x, 0.78, x + 0.27, 0.98, (150, 180, 176), ink=False)
        pen.ellipse(x + 0.24, 0.82, 0.012, 0.012, (90, 100, 100), ink=False)
        x += 0.29
    for row in range(4):
        for column in range(16):
            shade = (236, 232, 226) if (row + column) % 2 else (206, 202, 200)
            pen.box(0.11 * column, 0.1 * row, 0.11 * column + 0.11, 0.1 * row + 0.1, shade, ink=False)


PLACES: dict[str, Callable[[Pen, float, Random], None]] = {
    "field": _field,
    "beach": _beach,
    "street": _street,
    "desert": _desert,
    "forest": _forest,
    "snowfield": _snowfield,
    "room": _room,
    "kitchen": _kitchen,
}


def draw_place(name: str, size: tuple[int, int], rng: Random) -> Image.Image:
    """An RGB picture of the empty place, `size` = (width, height)."""
    width, height = size
    pen = Pen(size, 0, height, height)
    PLACES[name](pen, width / height, rng)
    layer = pen.layer("")
    assert layer is not None
    ground = Image.new("RGB", size)
    ground.paste(layer.image, (layer.left, layer.top))
    return Image.blend(ground, Image.new("RGB", size, _HAZE), HAZE_SHARE)
