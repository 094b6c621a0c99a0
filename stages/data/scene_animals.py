"""Animals of the drawn scenes: one body plan, and the measures that tell one animal from another."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from stages.data.scene_pen import Color, Pen, Point


@dataclass(frozen=True, slots=True)
class Beast:
    """Measures of a standing animal in units of its height; the body's middle is above the origin.

    height     of a grown person's
    length     of the body between its round ends
    body       thickness of the body
    legs       length and thickness of a leg
    neck       where the head sits, from the front end of the body
    head       half length and half height
    """

    height: float
    length: float
    body: float
    legs: tuple[float, float]
    neck: Point
    head: tuple[float, float]
    ears: str
    tail: str
    coats: tuple[Color, ...]
    muzzle: Color | None = None
    wool: bool = False
    spots: Color | None = None
    trunk: bool = False
    mane: Color | None = None


_GREY, _WHITE, _BLACK, _HORN = (150, 152, 160), (240, 236, 228), (48, 44, 48), (236, 222, 180)
BEASTS: dict[str, Beast] = {
    "dog": Beast(0.50, 0.62, 0.34, (0.36, 0.11), (0.20, 0.26), (0.23, 0.18), "flop", "up",
                 ((176, 122, 66), (228, 196, 140)), muzzle=(245, 230, 205)),
    "cat": Beast(0.40, 0.60, 0.32, (0.32, 0.10), (0.16, 0.26), (0.21, 0.20), "point", "curl",
                 ((236, 150, 60), (110, 112, 122))),
    "horse": Beast(0.95, 0.50, 0.27, (0.42, 0.075), (0.22, 0.36), (0.19, 0.10), "point", "long",
                   ((126, 74, 40), (92, 58, 40)), mane=(40, 30, 28)),
    "cow": Beast(0.78, 0.66, 0.40, (0.32, 0.10), (0.20, 0.18), (0.20, 0.14), "horn", "thin",
                 (_WHITE,), muzzle=(240, 180, 180), spots=_BLACK),
    "sheep": Beast(0.55, 0.46, 0.46, (0.30, 0.09), (0.22, 0.16), (0.19, 0.14), "flop", "none",
                   (_BLACK,), wool=True),
    "elephant": Beast(1.0, 0.40, 0.50, (0.34, 0.17), (0.24, 0.14), (0.20, 0.20), "fan", "thin",
                      (_GREY,), trunk=True),
    "bear": Beast(0.80, 0.52, 0.44, (0.28, 0.17), (0.20, 0.16), (0.21, 0.18), "round", "none",
                  ((104, 68, 44), (72, 50, 38)), muzzle=(190, 150, 110)),
    "rabbit": Beast(0.42, 0.30, 0.40, (0.20, 0.13), (0.16, 0.20), (0.20, 0.17), "long", "puff",
                    (_WHITE, (186, 160, 134)), muzzle=(250, 220, 220)),
}  # fmt: skip

# Per motion: bend of the legs (of their length), reach of front and hind feet, rise of the front end.
_GAITS: dict[str, tuple[float, float, float, float]] = {
    "standing": (1.0, 0.0, 0.0, 0.0),
    "running": (0.85, 0.26, -0.28, 0.03),
    "jumping": (0.75, 0.24, -0.30, 0.16),
    "crawling": (0.35, 0.16, -0.10, -0.02),
}


def body_line(name: str, motion: str) -> tuple[Point, Point]:
    """The hind and front end of the body's middle line, in units of the animal's height."""
    beast = BEASTS[name]
    bend, _, _, rise = _GAITS[motion]
    middle = beast.legs[0] * bend + beast.body / 2
    return (-beast.length / 2, middle - rise), (beast.length / 2, middle + rise)


def draw_animal(pen: Pen, name: str, motion: str, rng: Random) -> None:
    """Draws one animal, feet at the pen's origin, one unit tall when it stands."""
    beast = BEASTS[name]
    coat = rng.choice(beast.coats)
    dark = tuple(int(0.8 * value) for value in coat)
    hind, front = body_line(name, motion)
    _legs(pen, beast, motion, hind, front, dark, 0.07)
    _tail(pen, beast, hind, coat)
    _legs(pen, beast, motion, hind, front, coat, 0.0)
    _body(pen, beast, hind, front, coat)
    _head(pen, beast, front, coat)


def _legs(pen: Pen, beast: Beast, motion: str, hind: Point, front: Point, color: Color, shift: float) -> None:
    bend, fore_reach, hind_reach, _ = _GAITS[motion]
    for (x, y), reach in ((hind, hind_reach), (front, fore_reach)):
        hip = (x + shift, y - 0.2 * beast.body)
        length = beast.legs[0] * bend + 0.3 * beast.body
        foot = (hip[0] + reach, max(0.04, hip[1] - length + 0.5 * abs(reach) * bend))
        pen.line([hip, foot], beast.legs[1], color)


def _tail(pen: Pen, beast: Beast, hind: Point, coat: Color) -> None:
    x, y = hind[0] - 0.4 * beast.body, hind[1] + 0.1 * beast.body
    if beast.tail == "up":
        pen.line([(x, y), (x - 0.12, y + 0.16), (x - 0.10, y + 0.26)], 0.07, coat)
    elif beast.tail == "curl":
        pen.line([(x, y), (x - 0.16, y + 0.12), (x - 0.14, y + 0.34), (x - 0.04, y + 0.42)], 0.06, coat)
    elif beast.tail == "long":
        pen.line([(x, y + 0.04), (x - 0.10, y - 0.02), (x - 0.13, y - 0.26)], 0.07, beast.mane or coat)
    elif beast.tail == "thin":
        pen.line([(x, y), (x - 0.07, y - 0.20)], 0.03, coat)
    elif beast.tail == "puff":
        pen.ellipse(x, y, 0.09, 0.09, (255, 255, 255))


def _body(pen: Pen, beast: Beast, hind: Point, front: Point, coat: Color) -> None:
    if not beast.wool:
        pen.line([hind, front], beast.body, coat)
    else:
        wool = (248, 246, 240)
        for step in range(5):
            x = hind[0] + (front[0] - hind[0]) * step / 4
            y = hind[1] + (front[1] - hind[1]) * step / 4
            for dy in (-0.12, 0.12):
                pen.ellipse(x, y + dy, 0.15, 0.15, wool)
        pen.line([hind, front], 0.8 * beast.body, wool, ink=False)
    if beast.spots is not None:
        for share, dy, r in ((0.1, 0.06, 0.10), (0.55, 0.07, 0.12), (0.85, -0.06, 0.08)):
            x, y = (a + (b - a) * share for a, b in zip(hind, front, strict=True))
            pen.ellipse(x, y + dy, r, 0.75 * r, beast.spots, ink=False)


def _head(pen: Pen, beast: Beast, front: Point, coat: Color) -> None:
    x, y = front[0] + beast.neck[0], front[1] + beast.neck[1]
    pen.line([front, (x - 0.3 * beast.head[0], y)], 0.9 * beast.head[1] + 0.06, coat)
    if beast.mane is not None:
        pen.line([(front[0] - 0.08, front[1] + 0.1), (x - 0.13, y + 0.08)], 0.07, beast.mane, ink=False)
    _ears(pen, beast, (x, y), coat, behind=True)
    pen.ellipse(x, y, *beast.head, coat)
    if beast.trunk:
        pen.line([(x + 0.14, y - 0.04), (x + 0.26, y - 0.22), (x + 0.24, y - 0.42)], 0.09, coat)
        pen.line([(x + 0.12, y - 0.14), (x + 0.28, y - 0.18)], 0.04, (252, 250, 240))
    if beast.muzzle is not None:
        pen.ellipse(
            x + 0.62 * beast.head[0], y - 0.3 * beast.head[1], 0.42 * beast.head[0], 0.5 * beast.head[1],
            beast.muzzle, ink=False,
        )  # fmt: skip
    eye = (255, 255, 255) if sum(coat) < 200 else (24, 22, 26)
    pen.ellipse(x + 0.3 * beast.head[0], y + 0.25 * beast.head[1], 0.03, 0.035, eye, ink=False)
    pen.ellipse(x + 0.95 * beast.head[0], y - 0.05 * beast.head[1], 0.035, 0.03, (40, 30, 30), ink=False)
    _ears(pen, beast, (x, y), coat, behind=False)


def _ears(pen: Pen, beast: Beast, head: Point, coat: Color, behind: bool) -> None:
    """Ears that stand up are drawn before the head, ears that hang are drawn over it."""
    x, y = head[0] - 0.35 * beast.head[0], head[1] + 0.75 * beast.head[1]
    if behind:
        _standing_ears(pen, beast.ears, x, y, coat)
    elif beast.ears == "flop":
        pen.ellipse(x - 0.02, y - 0.10, 0.065, 0.15, tuple(int(0.65 * value) for value in coat))
    elif beast.ears == "fan":
        pen.ellipse(x - 0.10, y - 0.12, 0.15, 0.22, tuple(int(0.88 * value) for value in coat))


def _standing_ears(pen: Pen, ears: str, x: float, y: float, coat: Color) -> None:
    if ears == "point":
        for dx in (-0.04, 0.08):
            pen.polygon([(x + dx - 0.05, y), (x + dx, y + 0.16), (x + dx + 0.06, y)], coat)
    elif ears == "long":
        for dx in (-0.06, 0.08):
            pen.ellipse(x + dx, y + 0.17, 0.055, 0.21, coat)
    elif ears == "round":
        for dx in (-0.05, 0.12):
            pen.ellipse(x + dx, y + 0.03, 0.075, 0.075, coat)
    elif ears == "horn":
        for dx in (-0.06, 0.10):
            pen.polygon([(x + dx - 0.03, y), (x + dx + 0.02, y + 0.15), (x + dx + 0.05, y)], _HORN)
