"""A pen that draws smooth, outlined shapes on a transparent layer, and the stacking of layers.

Local coordinates: the origin stands on the ground, x runs the way the figure faces, y runs up, and one
unit is `scale` pixels of the finished picture. Shapes are drawn SUPER times larger and averaged down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stages.data.sample import Box

SUPER = 3  # 3x3 samples per pixel: edges look smooth, and a picture still takes about 10 ms
VISIBLE = 0.5  # a pixel belongs to a thing where the thing makes up at least that much of it
THINNEST = 1.2  # pixels; a thinner line would belong to no pixel
INK = (43, 38, 46)

Color = tuple[int, ...]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layer:
    """One drawn thing at its place in the picture; `role` is "" for what no role names.

    image   RGBA cut-out, anti-aliased
    left, top   where its first pixel lies in the picture
    """

    role: str
    image: Image.Image
    left: int
    top: int

    def cover(self, width: int, height: int) -> NDArray[np.float32]:
        """[height, width], the share of each pixel that this thing covers, 0 to 1."""
        full = Image.new("L", (width, height))
        full.paste(self.image.getchannel("A"), (self.left, self.top))
        return np.asarray(full, dtype=np.float32) / np.float32(255)


class Pen:
    """Draws one thing. `facing` is 1 for a thing that looks right and -1 for its mirror image."""

    def __init__(self, size: tuple[int, int], x: float, y: float, scale: float, facing: int = 1) -> None:
        self._image = Image.new("RGBA", (size[0] * SUPER, size[1] * SUPER))
        self._draw = ImageDraw.Draw(self._image)
        self._x, self._y, self._scale, self._facing = x, y, scale, facing
        self._outline = max(2, round(SUPER * min(1.4, 0.4 + scale / 80)))

    def _map(self, points: Iterable[Point]) -> list[Point]:
        return [
            (
                SUPER * (self._x + self._facing * self._scale * x),
                SUPER * (self._y - self._scale * y),
            )
            for x, y in points
        ]

    def at(self, point: Point) -> Point:
        """Local coordinates -> pixels of the picture."""
        ((x, y),) = self._map([point])
        return x / SUPER, y / SUPER

    def polygon(self, points: Sequence[Point], color: Color, ink: bool = True) -> None:
        outline = INK if ink else color
        self._draw.polygon(self._map(points), fill=color, outline=outline, width=self._outline if ink else 1)

    def box(self, x1: float, y1: float, x2: float, y2: float, color: Color, ink: bool = True) -> None:
        self.polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], color, ink)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, color: Color, ink: bool = True) -> None:
        corners = self._map([(cx - rx, cy + ry), (cx + rx, cy - ry)])
        (x1, y1), (x2, y2) = corners
        frame = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        if ink:
            self._draw.ellipse(frame, fill=color, outline=INK, width=self._outline)
        else:
            self._draw.ellipse(frame, fill=color)

    def line(self, points: Sequence[Point], width: float, color: Color, ink: bool = True) -> None:
        """A bar of `width` units with round ends along `points`."""
        mapped = self._map(points)
        inner = SUPER * max(THINNEST, width * self._scale)
        if ink:
            self._bar(mapped, inner + 2 * self._outline, INK)
        self._bar(mapped, inner, color)

    def _bar(self, mapped: Sequence[Point], width: float, color: Color) -> None:
        self._draw.line(list(mapped), fill=color, width=round(width), joint="curve")
        radius = width / 2
        for x, y in (mapped[0], mapped[-1]):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

    def layer(self, role: str) -> Layer | None:
        """What was drawn so far, averaged down and cut out; None where all of it lies off the picture."""
        frame = self._image.getbbox()
        if frame is None:
            return None
        left, top = frame[0] // SUPER, frame[1] // SUPER
        right, bottom = -(-frame[2] // SUPER), -(-frame[3] // SUPER)
        cut = self._image.crop((left * SUPER, top * SUPER, right * SUPER, bottom * SUPER))
        return Layer(role, cut.reduce(SUPER), left, top)


def stack(ground: Image.Image, layers: Iterable[Layer]) -> Image.Image:
    """Lays the layers over a picture of the place, the first one lowest; `ground` is left as it is."""
    picture = ground.copy()
    for layer in layers:
        picture.paste(layer.image, (layer.left, layer.top), layer.image)
    return picture


def visible_boxes(layers: Sequence[Layer], width: int, height: int) -> dict[str, Box]:
    """Role -> x1 y1 x2 y2 around the pixels that the role's thing makes up at least half of.

    x2 and y2 lie one past the last pixel. A role that is hidden altogether is left out.
    """
    boxes: dict[str, Box] = {}
    uncovered = np.ones((height, width), dtype=np.float32)  # by the layers above
    for layer in reversed(layers):
        cover = layer.cover(width, height)
        seen = cover * uncovered >= VISIBLE
        uncovered *= 1 - cover
        if layer.role and seen.any():
            columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
            boxes[layer.role] = (
                float(columns[0]),
                float(rows[0]),
                float(columns[-1] + 1),
                float(rows[-1] + 1),
            )
    return boxes
