"""People of the drawn scenes: joints of a pose, and the clothes that tell one person from another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from stages.data.scene_pen import Color, Pen, Point

SKINS: tuple[Color, ...] = ((247, 214, 184), (226, 178, 138), (160, 110, 76), (112, 76, 52))
HAIRS: tuple[Color, ...] = ((58, 40, 30), (30, 28, 30), (122, 78, 40), (220, 178, 92))
SHIRTS: tuple[Color, ...] = ((52, 110, 190), (40, 140, 110), (225, 140, 40), (90, 90, 110), (150, 40, 50))
DRESSES: tuple[Color, ...] = ((214, 60, 110), (150, 70, 180), (230, 110, 90), (200, 50, 60))
TROUSERS: tuple[Color, ...] = ((50, 56, 84), (70, 62, 58), (40, 46, 52))
SHOE: Color = (60, 40, 34)


@dataclass(frozen=True, slots=True)
class Pose:
    """Joints in units of the person's height; hands and feet are (far side, near side)."""

    hips: Point
    neck: Point
    head: Point
    knees: tuple[Point, Point]
    feet: tuple[Point, Point]
    hands: tuple[Point, Point]


POSES: dict[str, Pose] = {
    "standing": Pose(
        hips=(0.0, 0.44),
        neck=(0.0, 0.73),
        head=(0.01, 0.87),
        knees=((0.05, 0.23), (-0.05, 0.23)),
        feet=((0.07, 0.03), (-0.07, 0.03)),
        hands=((0.13, 0.44), (-0.13, 0.44)),
    ),
    "running": Pose(
        hips=(-0.02, 0.45),
        neck=(0.12, 0.71),
        head=(0.20, 0.85),
        knees=((0.22, 0.36), (-0.12, 0.26)),
        feet=((0.27, 0.10), (-0.37, 0.28)),
        hands=((-0.12, 0.50), (0.36, 0.60)),
    ),
    "jumping": Pose(
        hips=(0.0, 0.42),
        neck=(0.03, 0.71),
        head=(0.05, 0.86),
        knees=((0.20, 0.40), (-0.20, 0.38)),
        feet=((0.16, 0.14), (-0.24, 0.12)),
        hands=((0.30, 0.84), (-0.26, 0.84)),
    ),
    "crawling": Pose(
        hips=(-0.24, 0.29),
        neck=(0.16, 0.31),
        head=(0.33, 0.38),
        knees=((-0.12, 0.03), (-0.30, 0.03)),
        feet=((-0.36, 0.03), (-0.54, 0.03)),
        hands=((0.28, 0.03), (0.12, 0.03)),
    ),
}

# How an activity moves the hands, per pose: (far hand, near hand); None keeps the pose's own.
_WAVING: dict[str, tuple[Point | None, Point | None]] = {
    "standing": (None, (0.26, 0.94)),
    "running": (None, (0.44, 0.96)),
    "jumping": (None, (0.30, 0.98)),
    "crawling": (None, (0.42, 0.62)),
}
_CARRYING: dict[str, tuple[Point | None, Point | None]] = {
    "standing": ((0.30, 0.56), (0.26, 0.52)),
    "running": ((0.40, 0.56), (0.36, 0.52)),
    "jumping": ((0.32, 0.60), (0.28, 0.56)),
    "crawling": (None, None),
}
_DRAGGING: dict[str, tuple[Point | None, Point | None]] = {
    "standing": (None, (-0.24, 0.46)),
    "running": (None, (-0.24, 0.50)),
    "jumping": (None, (-0.26, 0.52)),
    "crawling": (None, (-0.34, 0.16)),
}
_HANDS = {"waving": _WAVING, "carrying": _CARRYING, "dragging": _DRAGGING}


@dataclass(frozen=True, slots=True)
class Look:
    """What tells one kind of person from another. `skirt`: a dress instead of trousers."""

    height: float  # of a grown person's
    head: float  # radius in units of the own height
    skirt: bool
    hair: Callable[[Pen, Point, float, Color], None]
    hat: Callable[[Pen, Point, float], None] | None = None
    top: tuple[Color, ...] = SHIRTS
    legs: tuple[Color, ...] = TROUSERS
    nose: Color | None = None


def _short_hair(pen: Pen, head: Point, r: float, color: Color) -> None:
    x, y = head
    pen.polygon(
        [(x - r, y - 0.1 * r), (x - r, y + 0.7 * r), (x - 0.4 * r, y + 1.15 * r), (x + 0.6 * r, y + 1.05 * r),
         (x + 0.95 * r, y + 0.5 * r), (x - 0.3 * r, y + 0.5 * r), (x - 0.5 * r, y - 0.1 * r)],
        color,
    )  # fmt: skip


def _long_hair(pen: Pen, head: Point, r: float, color: Color) -> None:
    x, y = head
    pen.polygon(
        [(x - 1.3 * r, y - 1.7 * r), (x - 1.15 * r, y + 0.6 * r), (x - 0.4 * r, y + 1.15 * r),
         (x + 0.6 * r, y + 1.05 * r), (x + 0.95 * r, y + 0.5 * r), (x - 0.2 * r, y + 0.5 * r),
         (x - 0.4 * r, y - 1.6 * r)],
        color,
    )  # fmt: skip


def _pigtails(pen: Pen, head: Point, r: float, color: Color) -> None:
    x, y = head
    pen.ellipse(x - 1.35 * r, y - 0.1 * r, 0.42 * r, 0.7 * r, color)
    _short_hair(pen, head, r, color)
    pen.ellipse(x - 0.75 * r, y - 0.55 * r, 0.36 * r, 0.62 * r, color)


def _curls(pen: Pen, head: Point, r: float, color: Color) -> None:
    del color  # a clown's wig is orange whatever the hair
    x, y = head
    for dx, dy in ((-0.95, 0.0), (-0.85, 0.65), (-0.2, 1.0), (0.5, 0.95)):
        pen.ellipse(x + dx * r, y + dy * r, 0.5 * r, 0.5 * r, (240, 120, 30))


def _cap(pen: Pen, head: Point, r: float) -> None:
    x, y = head
    red = (210, 50, 50)
    pen.polygon([(x - r, y + 0.4 * r), (x - 0.6 * r, y + 1.15 * r), (x + 0.5 * r, y + 1.15 * r),
                 (x + r, y + 0.4 * r)], red)  # fmt: skip
    pen.box(x + 0.4 * r, y + 0.35 * r, x + 1.7 * r, y + 0.6 * r, red)


def _helmet(pen: Pen, head: Point, r: float) -> None:
    x, y = head
    green = (84, 100, 58)
    pen.polygon([(x - 1.2 * r, y + 0.25 * r), (x - 0.9 * r, y + 1.0 * r), (x, y + 1.4 * r),
                 (x + 0.9 * r, y + 1.0 * r), (x + 1.25 * r, y + 0.25 * r)], green)  # fmt: skip


def _chef_hat(pen: Pen, head: Point, r: float) -> None:
    x, y = head
    white = (250, 250, 250)
    for dx in (-0.7, 0.0, 0.7):
        pen.ellipse(x + dx * r, y + 1.75 * r, 0.7 * r, 0.6 * r, white)
    pen.box(x - 0.8 * r, y + 0.5 * r, x + 0.8 * r, y + 1.5 * r, white)


def _cowboy_hat(pen: Pen, head: Point, r: float) -> None:
    x, y = head
    brown = (134, 88, 44)
    pen.polygon([(x - 0.8 * r, y + 0.5 * r), (x - 0.6 * r, y + 1.5 * r), (x, y + 1.3 * r),
                 (x + 0.6 * r, y + 1.5 * r), (x + 0.8 * r, y + 0.5 * r)], brown)  # fmt: skip
    pen.ellipse(x, y + 0.5 * r, 1.75 * r, 0.28 * r, brown)


_KHAKI: tuple[Color, ...] = ((104, 120, 70),)
_WHITE: tuple[Color, ...] = ((246, 246, 246),)
LOOKS: dict[str, Look] = {
    "man": Look(1.0, 0.115, False, _short_hair),
    "woman": Look(0.95, 0.115, True, _long_hair, top=DRESSES),
    "boy": Look(0.74, 0.15, False, _short_hair, _cap),
    "girl": Look(0.72, 0.15, True, _pigtails, top=DRESSES),
    "soldier": Look(1.0, 0.115, False, _short_hair, _helmet, top=_KHAKI, legs=_KHAKI),
    "chef": Look(0.95, 0.115, False, _short_hair, _chef_hat, top=_WHITE, legs=((90, 90, 100),)),
    "clown": Look(
        0.98, 0.125, False, _curls, top=((250, 210, 40),), legs=((60, 150, 220),), nose=(230, 30, 40)
    ),
    "cowboy": Look(1.0, 0.115, False, _short_hair, _cowboy_hat, top=((190, 70, 50),), legs=((60, 90, 150),)),
}


def pose_of(motion: str, use: str) -> Pose:
    """The joints of a person who moves that way and does that with the hands."""
    pose = POSES[motion]
    if not use:
        return pose
    far, near = _HANDS[use][motion]
    return replace(pose, hands=(far or pose.hands[0], near or pose.hands[1]))


def draw_person(pen: Pen, name: str, motion: str, use: str, rng: Random) -> None:
    """Draws one person, feet at the pen's origin, one unit tall."""
    look, pose = LOOKS[name], pose_of(motion, use)
    skin, hair, top, legs = (rng.choice(colors) for colors in (SKINS, HAIRS, look.top, look.legs))
    leg_color = skin if look.skirt else legs
    _limb(pen, (pose.neck[0], pose.neck[1] - 0.04), pose.hands[0], top, skin)
    for knee, foot in zip(pose.knees, pose.feet, strict=True):
        _leg(pen, pose.hips, knee, foot, leg_color)
    _torso(pen, pose, look.skirt, top)
    _head(pen, pose.head, look, skin, hair)
    _limb(pen, (pose.neck[0], pose.neck[1] - 0.04), pose.hands[1], top, skin)


def _leg(pen: Pen, hips: Point, knee: Point, foot: Point, color: Color) -> None:
    pen.line([hips, knee, foot], 0.085, color)
    pen.line([foot, (foot[0] + 0.06, foot[1])], 0.055, SHOE)


def _limb(pen: Pen, shoulder: Point, hand: Point, sleeve: Color, skin: Color) -> None:
    pen.line([shoulder, hand], 0.065, sleeve)
    pen.ellipse(*hand, 0.045, 0.045, skin)


def _torso(pen: Pen, pose: Pose, skirt: bool, color: Color) -> None:
    pen.line([pose.hips, (pose.neck[0], pose.neck[1] - 0.05)], 0.17, color)
    if not skirt:
        return
    (hx, hy), (nx, ny) = pose.hips, pose.neck
    length = ((nx - hx) ** 2 + (ny - hy) ** 2) ** 0.5
    ux, uy = (hx - nx) / length, (hy - ny) / length  # from the neck down the body
    corners = ((0.0, -0.09), (0.0, 0.09), (0.17, 0.2), (0.17, -0.2))  # down from the hips, across
    pen.polygon([(hx + d * ux + a * uy, hy + d * uy - a * ux) for d, a in corners], color)


def _head(pen: Pen, head: Point, look: Look, skin: Color, hair: Color) -> None:
    r = look.head
    x, y = head
    pen.ellipse(x, y, r, r, skin)
    look.hair(pen, head, r, hair)
    if look.hat is not None:
        look.hat(pen, head, r)
    pen.ellipse(x + 0.5 * r, y + 0.05 * r, 0.13 * r, 0.16 * r, (30, 26, 30), ink=False)
    if look.nose is not None:
        pen.ellipse(x + r, y - 0.1 * r, 0.3 * r, 0.3 * r, look.nose)
