"""Signs of motion in the drawn scenes: speed lines, bounce arcs, tracks, shadows, drops of sweat, ropes."""

from __future__ import annotations

from math import cos, pi, sin

from stages.data.scene_pen import Pen, Point

_MARK = (66, 72, 96)
_PALE = (252, 252, 252)
_DROP = (90, 180, 240)
_ROPE = (150, 110, 60)


def draw_shadow(pen: Pen, x: float, y: float, width: float) -> None:
    pen.ellipse(x, y, 0.46 * width, 0.05, (30, 30, 40, 70), ink=False)


def draw_motion(pen: Pen, motion: str, x: float, rear: Point, height: float, width: float) -> None:
    """`x`: the agent's middle; `rear`: the hind edge of what can be seen, on the level of its feet."""
    if motion == "running":
        _speed_lines(pen, rear, height)
    elif motion == "jumping":
        _bounce(pen, (x, rear[1]), width)
    elif motion == "crawling":
        _trail(pen, rear)


def _speed_lines(pen: Pen, rear: Point, height: float) -> None:
    x, y = rear
    for share, length in ((0.35, 0.34), (0.55, 0.5), (0.75, 0.38)):
        pen.line([(x - 0.02, y + share * height), (x - length, y + share * height)], 0.035, _MARK, ink=False)
    for dx, r in ((-0.06, 0.075), (-0.2, 0.06), (-0.31, 0.04)):
        pen.ellipse(x + dx, y + 0.07, r, r, _PALE)


def _bounce(pen: Pen, foot: Point, width: float) -> None:
    x, y = foot
    for step in range(3):
        reach = (0.5 - 0.11 * step) * min(width, 0.7)
        arc = [
            (x + reach * cos(angle), y - 0.02 - 0.09 * step - 0.1 * sin(angle))
            for angle in (pi * turn / 8 for turn in range(1, 8))
        ]
        pen.line(arc, 0.035, _MARK, ink=False)


def _trail(pen: Pen, rear: Point) -> None:
    """A wavy track on the ground behind somebody who crawls."""
    x, y = rear
    wave = [(x - 0.03 * step, y + 0.02 + 0.05 * sin(pi * step / 3)) for step in range(22)]
    pen.line(wave, 0.035, _MARK, ink=False)


def draw_rope(pen: Pen, start: Point, end: Point) -> None:
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 0.05)
    pen.line([start, middle, end], 0.03, _ROPE)


def draw_slings(pen: Pen, x: float, y: float, width: float, ceiling: float) -> None:
    """Two ropes from the picture's upper edge, on which something hangs."""
    for share in (-0.3, 0.3):
        pen.line([(x + share * width, y - 0.1), (x + share * width, ceiling + 0.1)], 0.03, _ROPE)


def draw_waves(pen: Pen, middle: Point, width: float) -> None:
    """Arcs on both sides of something that is waved."""
    x, y = middle
    for side in (-1, 1):
        for reach in (0.5 * width + 0.1, 0.5 * width + 0.2):
            arc = [
                (x + side * reach * cos(angle), y + (reach + 0.1) * sin(angle))
                for angle in (pi * turn / 16 for turn in range(-4, 5))
            ]
            pen.line(arc, 0.03, _MARK, ink=False)


def draw_sweat(pen: Pen, head: Point) -> None:
    """Drops that fly off somebody who carries a load."""
    x, y = head
    for dx, dy in ((-0.34, -0.06), (-0.22, 0.08), (-0.02, 0.13), (0.18, 0.08)):
        pen.ellipse(x + dx, y + dy, 0.05, 0.07, _DROP)
        pen.polygon(
            [(x + dx - 0.035, y + dy + 0.05), (x + dx, y + dy + 0.13), (x + dx + 0.035, y + dy + 0.05)], _DROP
        )


def draw_furrows(pen: Pen, rear: float) -> None:
    """Lines on the ground behind something that is dragged."""
    for y in (-0.03, 0.03):
        pen.line([(rear, y), (rear - 0.5, y)], 0.03, _MARK, ink=False)
