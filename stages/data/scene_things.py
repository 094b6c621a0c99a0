"""Vehicles, furniture and other things of the drawn scenes.

Every function draws into a box one unit tall that stands on the pen's origin, as wide as `THINGS` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from stages.data.scene_pen import Color, Pen

_WOOD, _DARK_WOOD, _STEEL, _GLASS = (196, 142, 84), (140, 94, 52), (120, 126, 136), (190, 226, 244)
_TYRE, _HUB = (44, 42, 48), (190, 192, 198)
_PAINTS: tuple[Color, ...] = ((206, 48, 46), (40, 100, 190), (242, 186, 40), (52, 150, 90))
_CLOTHS: tuple[Color, ...] = ((176, 62, 70), (70, 120, 160), (120, 150, 80), (160, 110, 170))


def _wheel(pen: Pen, x: float, y: float, r: float) -> None:
    pen.ellipse(x, y, r, r, _TYRE)
    pen.ellipse(x, y, 0.45 * r, 0.45 * r, _HUB, ink=False)


def _car(pen: Pen, rng: Random) -> None:
    paint = rng.choice(_PAINTS)
    pen.polygon([(-0.62, 0.5), (-0.38, 0.98), (0.32, 0.98), (0.6, 0.5)], paint)
    pen.polygon([(-0.46, 0.54), (-0.31, 0.88), (-0.04, 0.88), (-0.04, 0.54)], _GLASS)
    pen.polygon([(0.03, 0.54), (0.03, 0.88), (0.26, 0.88), (0.43, 0.54)], _GLASS)
    pen.polygon([(-1.05, 0.18), (-1.02, 0.5), (-0.6, 0.58), (0.6, 0.58), (1.0, 0.48), (1.05, 0.18)], paint)
    pen.ellipse(0.97, 0.38, 0.07, 0.07, (255, 240, 150))
    _wheel(pen, -0.6, 0.2, 0.2)
    _wheel(pen, 0.6, 0.2, 0.2)


def _bus(pen: Pen, rng: Random) -> None:
    paint = rng.choice(((248, 178, 32), (200, 44, 52)))
    pen.box(-0.98, 0.14, 0.98, 0.98, paint)
    for x in (-0.88, -0.52, -0.16, 0.2):
        pen.box(x, 0.54, x + 0.28, 0.86, _GLASS)
    pen.box(0.6, 0.2, 0.88, 0.86, _GLASS)
    _wheel(pen, -0.55, 0.16, 0.16)
    _wheel(pen, 0.42, 0.16, 0.16)


def _truck(pen: Pen, rng: Random) -> None:
    pen.box(-1.05, 0.24, 0.34, 0.98, (236, 236, 230))
    pen.polygon([(0.38, 0.24), (0.38, 0.78), (0.72, 0.78), (0.98, 0.5), (0.98, 0.24)], rng.choice(_PAINTS))
    pen.polygon([(0.5, 0.5), (0.5, 0.7), (0.7, 0.7), (0.86, 0.5)], _GLASS)
    pen.box(-1.05, 0.16, 1.0, 0.26, _STEEL)
    for x in (-0.75, -0.35, 0.66):
        _wheel(pen, x, 0.16, 0.16)


def _tractor(pen: Pen, rng: Random) -> None:
    paint = rng.choice(((56, 148, 60), (200, 50, 44)))
    pen.box(-0.42, 0.58, 0.08, 0.98, _GLASS)
    pen.box(-0.48, 0.92, 0.14, 1.0, paint)
    pen.box(-0.3, 0.3, 0.72, 0.62, paint)
    pen.box(0.44, 0.62, 0.52, 0.9, _STEEL)
    _wheel(pen, -0.34, 0.3, 0.3)
    _wheel(pen, 0.52, 0.19, 0.19)


def _boat(pen: Pen, rng: Random) -> None:
    pen.box(-0.03, 0.2, 0.03, 1.0, _DARK_WOOD)
    pen.polygon([(0.06, 0.98), (0.06, 0.34), (0.58, 0.34)], (252, 250, 244))
    pen.polygon([(-0.06, 0.86), (-0.06, 0.34), (-0.44, 0.34)], rng.choice(_PAINTS))
    pen.polygon([(-0.72, 0.28), (0.76, 0.28), (0.5, 0.0), (-0.5, 0.0)], _WOOD)


def _bicycle(pen: Pen, rng: Random) -> None:
    paint = rng.choice(_PAINTS)
    for x in (-0.5, 0.5):
        pen.ellipse(x, 0.32, 0.32, 0.32, _TYRE)
        pen.ellipse(x, 0.32, 0.25, 0.25, (214, 222, 226), ink=False)
    pen.line([(-0.5, 0.32), (-0.2, 0.74), (0.36, 0.74), (-0.04, 0.32), (-0.5, 0.32)], 0.06, paint)
    pen.line([(0.5, 0.32), (0.34, 0.92), (0.5, 0.96)], 0.06, paint)
    pen.line([(-0.32, 0.82), (-0.1, 0.82)], 0.09, (50, 46, 50))


def _chair(pen: Pen, rng: Random) -> None:
    cloth = rng.choice(_CLOTHS)
    for x in (-0.26, 0.22):
        pen.box(x, 0.0, x + 0.07, 0.46, _DARK_WOOD)
    pen.box(-0.32, 0.4, -0.2, 1.0, _DARK_WOOD)
    pen.box(-0.34, 0.42, 0.34, 0.54, cloth)


def _table(pen: Pen, rng: Random) -> None:
    del rng
    for x in (-0.66, 0.54):
        pen.box(x, 0.0, x + 0.12, 0.88, _DARK_WOOD)
    pen.box(-0.8, 0.8, 0.8, 1.0, _WOOD)


def _sofa(pen: Pen, rng: Random) -> None:
    cloth = rng.choice(_CLOTHS)
    for x in (-0.85, 0.76):
        pen.box(x, 0.0, x + 0.1, 0.14, _DARK_WOOD)
    pen.box(-0.85, 0.3, 0.85, 1.0, cloth)
    pen.box(-0.72, 0.12, 0.0, 0.56, cloth)
    pen.box(0.0, 0.12, 0.72, 0.56, cloth)
    pen.box(-1.0, 0.1, -0.74, 0.72, cloth)
    pen.box(0.74, 0.1, 1.0, 0.72, cloth)


def _bed(pen: Pen, rng: Random) -> None:
    pen.box(-1.1, 0.0, -0.98, 1.0, _DARK_WOOD)
    pen.box(0.98, 0.0, 1.1, 0.62, _DARK_WOOD)
    pen.box(-1.0, 0.18, 1.0, 0.4, _WOOD)
    pen.box(-0.98, 0.38, 0.98, 0.6, (250, 250, 250))
    pen.polygon([(-0.4, 0.36), (-0.3, 0.7), (0.98, 0.66), (0.98, 0.36)], rng.choice(_CLOTHS))
    pen.ellipse(-0.7, 0.66, 0.24, 0.13, (255, 255, 255))


def _bench(pen: Pen, rng: Random) -> None:
    del rng
    for x in (-0.8, 0.7):
        pen.box(x, 0.0, x + 0.1, 1.0, _STEEL)
    for y in (0.84, 0.62):
        pen.box(-0.98, y, 0.98, y + 0.15, _WOOD)
    pen.box(-1.0, 0.38, 1.0, 0.52, _WOOD)


def _fence(pen: Pen, rng: Random) -> None:
    paint = rng.choice(((250, 248, 242), _WOOD))
    for y in (0.26, 0.62):
        pen.box(-1.0, y, 1.0, y + 0.12, paint)
    for i in range(6):
        x = -0.94 + 0.34 * i
        pen.polygon([(x, 0.0), (x, 0.86), (x + 0.09, 1.0), (x + 0.18, 0.86), (x + 0.18, 0.0)], paint)


def _tree(pen: Pen, rng: Random) -> None:
    leaves = rng.choice(((62, 140, 62), (96, 158, 56), (214, 132, 44)))
    pen.polygon([(-0.09, 0.0), (-0.05, 0.5), (0.05, 0.5), (0.09, 0.0)], (110, 74, 44))
    for x, y, r in ((-0.17, 0.56, 0.19), (0.17, 0.56, 0.19), (0.0, 0.77, 0.23)):
        pen.ellipse(x, y, r, r, leaves)
    pen.ellipse(0.0, 0.62, 0.2, 0.17, leaves, ink=False)


def _rock(pen: Pen, rng: Random) -> None:
    grey = rng.choice(((140, 138, 140), (160, 148, 132)))
    pen.polygon([(-0.75, 0.0), (-0.66, 0.5), (-0.26, 0.94), (0.2, 1.0), (0.58, 0.66), (0.76, 0.0)], grey)
    pen.polygon([(-0.26, 0.9), (0.18, 0.95), (0.02, 0.56)], tuple(v + 26 for v in grey), ink=False)
    pen.line([(0.02, 0.56), (0.16, 0.26), (0.1, 0.08)], 0.02, (96, 92, 94), ink=False)


def _bush(pen: Pen, rng: Random) -> None:
    green = rng.choice(((58, 128, 58), (88, 146, 74)))
    for x, y, r in ((-0.56, 0.34, 0.34), (0.56, 0.34, 0.34), (-0.2, 0.6, 0.4), (0.24, 0.58, 0.4)):
        pen.ellipse(x, y, r, r, green)
    pen.box(-0.62, 0.0, 0.62, 0.5, green, ink=False)
    for x, y in ((-0.4, 0.5), (0.05, 0.75), (0.42, 0.4), (-0.1, 0.25)):
        pen.ellipse(x, y, 0.07, 0.07, (214, 50, 70), ink=False)


def _house(pen: Pen, rng: Random) -> None:
    pen.box(-0.5, 0.0, 0.5, 0.58, rng.choice(((240, 218, 176), (214, 226, 234), (232, 190, 170))))
    pen.box(0.22, 0.68, 0.36, 1.0, (150, 84, 70))
    pen.polygon([(-0.62, 0.56), (0.0, 0.98), (0.62, 0.56)], (178, 66, 54))
    pen.box(-0.08, 0.0, 0.14, 0.36, _DARK_WOOD)
    for x in (-0.4, 0.24):
        pen.box(x, 0.24, x + 0.18, 0.44, _GLASS)


def _tent(pen: Pen, rng: Random) -> None:
    paint = rng.choice(((236, 130, 40), (66, 130, 150)))
    pen.polygon([(-0.85, 0.0), (0.0, 1.0), (0.85, 0.0)], paint)
    pen.polygon([(-0.28, 0.0), (0.0, 0.72), (0.28, 0.0)], (70, 56, 60))


def _barrel(pen: Pen, rng: Random) -> None:
    del rng
    pen.polygon([(-0.3, 0.0), (-0.4, 0.3), (-0.4, 0.7), (-0.3, 1.0), (0.3, 1.0), (0.4, 0.7), (0.4, 0.3),
                 (0.3, 0.0)], (168, 108, 60))  # fmt: skip
    for y in (0.2, 0.7):
        pen.box(-0.39, y, 0.39, y + 0.1, _STEEL)


def _box(pen: Pen, rng: Random) -> None:
    del rng
    pen.box(-0.55, 0.0, 0.55, 1.0, (206, 160, 104))
    pen.box(-0.1, 0.0, 0.1, 1.0, (236, 206, 150), ink=False)
    pen.line([(-0.5, 0.72), (0.5, 0.72)], 0.03, (150, 110, 66), ink=False)


def _basket(pen: Pen, rng: Random) -> None:
    del rng
    pen.line([(-0.42, 0.5), (-0.3, 0.9), (0.3, 0.9), (0.42, 0.5)], 0.07, _DARK_WOOD)
    for x, color in ((-0.2, (214, 50, 50)), (0.04, (240, 180, 50)), (0.24, (214, 50, 50))):
        pen.ellipse(x, 0.56, 0.16, 0.16, color)
    pen.polygon([(-0.52, 0.54), (0.52, 0.54), (0.38, 0.0), (-0.38, 0.0)], (206, 164, 96))
    for y in (0.18, 0.36):
        pen.line([(-0.42, y), (0.42, y)], 0.04, _DARK_WOOD, ink=False)


def _ball(pen: Pen, rng: Random) -> None:
    del rng
    pen.ellipse(0.0, 0.5, 0.5, 0.5, (250, 250, 250))
    for dx, dy in ((0.0, 0.0), (0.32, 0.22), (-0.32, 0.22), (0.2, -0.34), (-0.2, -0.34)):
        pen.ellipse(dx, 0.5 + dy, 0.12, 0.12, (30, 30, 34), ink=False)


def _bag(pen: Pen, rng: Random) -> None:
    leather = rng.choice(((150, 60, 50), (70, 84, 130)))
    pen.line([(-0.2, 0.7), (-0.2, 0.95), (0.2, 0.95), (0.2, 0.7)], 0.07, (50, 40, 40))
    pen.box(-0.62, 0.0, 0.62, 0.78, leather)
    for x in (-0.4, 0.28):
        pen.box(x, 0.0, x + 0.12, 0.78, (228, 196, 130), ink=False)


def _pumpkin(pen: Pen, rng: Random) -> None:
    del rng
    pen.box(-0.06, 0.7, 0.06, 1.0, (76, 120, 50))
    for dx in (-0.34, 0.34, 0.0):
        pen.ellipse(dx, 0.42, 0.3, 0.42, (240, 132, 30))


def _cart(pen: Pen, rng: Random) -> None:
    pen.polygon([(-0.9, 0.9), (0.9, 0.9), (0.74, 0.36), (-0.74, 0.36)], rng.choice(_PAINTS))
    _wheel(pen, -0.45, 0.26, 0.26)
    _wheel(pen, 0.45, 0.26, 0.26)


def _sled(pen: Pen, rng: Random) -> None:
    del rng
    pen.line([(-1.1, 0.08), (0.9, 0.08), (1.2, 0.4)], 0.12, _STEEL)
    for x in (-0.7, 0.5):
        pen.box(x, 0.1, x + 0.12, 0.62, _DARK_WOOD)
    pen.box(-1.05, 0.6, 0.85, 0.92, (206, 60, 50))


def _log(pen: Pen, rng: Random) -> None:
    del rng
    pen.line([(-1.1, 0.5), (1.0, 0.5)], 0.86, (124, 84, 52))
    pen.ellipse(1.08, 0.5, 0.3, 0.46, (228, 190, 132))
    pen.ellipse(1.08, 0.5, 0.14, 0.22, (196, 150, 96), ink=False)


def _flag(pen: Pen, rng: Random) -> None:
    pen.line([(0.0, 0.0), (0.0, 0.97)], 0.04, _DARK_WOOD)
    red, white = rng.choice((((206, 40, 50), (250, 250, 250)), ((36, 84, 170), (250, 210, 60))))
    pen.polygon([(0.02, 0.98), (0.66, 0.92), (0.66, 0.44), (0.02, 0.5)], red)
    pen.polygon([(0.04, 0.81), (0.64, 0.75), (0.64, 0.61), (0.04, 0.67)], white, ink=False)


def _umbrella(pen: Pen, rng: Random) -> None:
    paint = rng.choice(_PAINTS)
    pen.line([(0.0, 0.0), (0.0, 0.9)], 0.04, _DARK_WOOD)
    pen.polygon([(-0.6, 0.56), (-0.44, 0.82), (0.0, 0.98), (0.44, 0.82), (0.6, 0.56), (0.4, 0.63),
                 (0.2, 0.56), (0.0, 0.63), (-0.2, 0.56), (-0.4, 0.63)], paint)  # fmt: skip
    pen.line([(-0.2, 0.57), (0.0, 0.95), (0.2, 0.57)], 0.02, (250, 250, 250), ink=False)


def _balloon(pen: Pen, rng: Random) -> None:
    pen.line([(0.0, 0.0), (0.04, 0.25), (0.0, 0.5)], 0.02, (60, 56, 60), ink=False)
    paint = rng.choice(_PAINTS)
    pen.polygon([(-0.07, 0.42), (0.07, 0.42), (0.0, 0.52)], paint)
    pen.ellipse(0.0, 0.74, 0.23, 0.26, paint)
    pen.ellipse(-0.08, 0.83, 0.05, 0.07, (255, 255, 255), ink=False)


def _lantern(pen: Pen, rng: Random) -> None:
    del rng
    pen.line([(0.0, 0.0), (0.0, 0.5)], 0.05, _DARK_WOOD)
    pen.box(-0.2, 0.46, 0.2, 0.54, _STEEL)
    pen.box(-0.16, 0.54, 0.16, 0.86, (255, 226, 110))
    pen.polygon([(-0.24, 0.84), (0.0, 1.0), (0.24, 0.84)], _STEEL)


def _broom(pen: Pen, rng: Random) -> None:
    del rng
    pen.line([(0.0, 0.0), (0.0, 0.7)], 0.05, _WOOD)
    pen.polygon([(-0.09, 0.64), (-0.24, 1.0), (0.24, 1.0), (0.09, 0.64)], (232, 196, 96))
    pen.box(-0.1, 0.6, 0.1, 0.68, (196, 60, 50))


@dataclass(frozen=True, slots=True)
class Thing:
    """How a thing is drawn: its width in units of its height, and its height in a grown person's."""

    draw: Callable[[Pen, Random], None]
    width: float
    height: float


THINGS: dict[str, Thing] = {
    "car": Thing(_car, 2.1, 0.66),
    "bus": Thing(_bus, 1.96, 0.95),
    "truck": Thing(_truck, 2.05, 0.86),
    "tractor": Thing(_tractor, 1.35, 0.86),
    "boat": Thing(_boat, 1.5, 0.95),
    "bicycle": Thing(_bicycle, 1.64, 0.66),
    "chair": Thing(_chair, 0.7, 0.66),
    "table": Thing(_table, 1.6, 0.52),
    "sofa": Thing(_sofa, 2.0, 0.56),
    "bed": Thing(_bed, 2.2, 0.52),
    "bench": Thing(_bench, 2.0, 0.52),
    "fence": Thing(_fence, 2.0, 0.56),
    "tree": Thing(_tree, 0.74, 1.3),
    "rock": Thing(_rock, 1.5, 0.5),
    "bush": Thing(_bush, 1.8, 0.5),
    "house": Thing(_house, 1.24, 1.2),
    "tent": Thing(_tent, 1.7, 0.76),
    "barrel": Thing(_barrel, 0.8, 0.56),
    "box": Thing(_box, 1.1, 0.44),
    "basket": Thing(_basket, 1.04, 0.36),
    "ball": Thing(_ball, 1.0, 0.3),
    "bag": Thing(_bag, 1.24, 0.36),
    "pumpkin": Thing(_pumpkin, 1.28, 0.34),
    "cart": Thing(_cart, 1.8, 0.38),
    "sled": Thing(_sled, 2.4, 0.26),
    "log": Thing(_log, 2.8, 0.24),
    "flag": Thing(_flag, 0.7, 0.66),
    "umbrella": Thing(_umbrella, 1.2, 0.6),
    "balloon": Thing(_balloon, 0.46, 0.66),
    "lantern": Thing(_lantern, 0.48, 0.5),
    "broom": Thing(_broom, 0.48, 0.7),
}
