"""How a picture is laid into an encoder's square frame, and how boxes follow it there.

A bank records its geometry, so that a box drawn on the original picture can always be found again
on the bank's patch grid. Frame coordinates run from 0 to 1, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache.errors import UserError
from stages.data.sample import Box

Mode = Literal["stretch", "crop", "pad"]
MODES: tuple[Mode, ...] = ("stretch", "crop", "pad")


@dataclass(frozen=True, slots=True)
class Geometry:
    """The frame of one vision bank.

    size          side of the square frame in pixels
    mode          ``stretch`` keeps all of the picture and changes its aspect ratio; ``crop`` scales the
                  short side to `size` and cuts the middle; ``pad`` scales the long side and adds borders
    rows, cols    patch grid
    class_tokens  tokens before the first patch (1 for CLIP and EVA, 0 for SigLIP)
    flip          the frame shows the picture mirrored left to right
    """

    size: int
    mode: Mode
    rows: int
    cols: int
    class_tokens: int
    flip: bool = False

    @property
    def tokens(self) -> int:
        return self.class_tokens + self.rows * self.cols

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Geometry:
        """Raises UserError where a header was written by something that knows other fields."""
        try:
            return Geometry(**fields)
        except TypeError as reason:
            raise UserError(
                f"geometry {fields!r} is not one this version can read ({reason}); "
                "rebuild the bank with `mipd-pipe embed-teacher`"
            ) from None

    def _scale(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Factors and offsets (sx, sy, ox, oy) with frame pixel = picture pixel * s + o."""
        if self.mode == "stretch":
            return self.size / width, self.size / height, 0.0, 0.0
        side = min(width, height) if self.mode == "crop" else max(width, height)
        scale = self.size / side
        return scale, scale, (self.size - width * scale) / 2, (self.size - height * scale) / 2

    def place(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Lays an RGB picture into the frame: [size, size, 3] uint8, borders black."""
        sx, sy, ox, oy = self._scale(*picture.size)
        # Scaled first and pasted second: resize averages when it shrinks, an affine transform would alias.
        scaled_width = max(1, round(picture.width * sx))
        scaled_height = max(1, round(picture.height * sy))
        scaled = picture.resize((scaled_width, scaled_height), Image.Resampling.BICUBIC)
        frame = Image.new("RGB", (self.size, self.size))
        frame.paste(scaled, (round(ox), round(oy)))
        if self.flip:
            frame = frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(frame, dtype=np.uint8)

    def box_to_frame(self, box: Box, width: int, height: int) -> Box | None:
        """Pixels of a picture -> frame coordinates in 0..1; None where the frame cuts all of the box off."""
        sx, sy, ox, oy = self._scale(width, height)
        x1, x2 = ((x * sx + ox) / self.size for x in (box[0], box[2]))
        y1, y2 = ((y * sy + oy) / self.size for y in (box[1], box[3]))
        if self.flip:
            x1, x2 = 1 - x2, 1 - x1
        x1, y1, x2, y2 = (min(1.0, max(0.0, v)) for v in (x1, y1, x2, y2))
        return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None

    def box_to_picture(self, box: Box, width: int, height: int) -> Box:
        """Frame coordinates -> pixels of the picture, clipped to it; undoes `box_to_frame`."""
        sx, sy, ox, oy = self._scale(width, height)
        x1, y1, x2, y2 = box
        if self.flip:
            x1, x2 = 1 - x2, 1 - x1
        xs = ((x * self.size - ox) / sx for x in (x1, x2))
        ys = ((y * self.size - oy) / sy for y in (y1, y2))
        (px1, px2), (py1, py2) = (min(max(x, 0.0), width) for x in xs), (min(max(y, 0.0), height) for y in ys)
        return px1, py1, px2, py2
