"""Small pictures as `data:` URLs, no larger together than a page should be."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from PIL import Image

from stages.batches import batches
from stages.data.pictures import PictureError, open_picture
from stages.printable import printable

QUALITIES = (80, 65, 50, 35)  # WebP's; below the last, letters dissolve
_EFFORT = 2  # of WebP's 0 to 6: at 4 a picture takes twice as long and is 3 % smaller
_TRIED = 32  # pictures by which the quality of all is chosen
_SPARE = 0.95  # of the room they may fill, because the others may be a little larger
_AT_ONCE = 64  # pictures under way, so that memory stays flat
_THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes and encodes outside the interpreter's lock


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A `data:` URL, or "" and the reason why there is none."""

    url: str
    missing: str = ""


def thumbnails(paths: Sequence[Path], side: int, bytes_each: int, max_pixels: int) -> Iterator[Thumbnail]:
    """One for each picture file, in order, all of one quality: the best with which they fit.

    side        pixels of the longer side; a smaller picture is not enlarged
    bytes_each  what a URL may have on average; more where even the lowest quality needs more
    max_pixels  a larger picture is not opened
    """

    def make(path: Path, quality: int) -> Thumbnail:
        try:
            return _encode(open_picture(path, max_pixels), side, quality)
        except PictureError as fault:
            return Thumbnail("", printable(fault.reason))

    with ThreadPoolExecutor(_THREADS) as pool:
        tried = paths[:: len(paths) // _TRIED + 1]
        room = _SPARE * bytes_each * len(tried)

        def fits(quality: int) -> bool:
            return sum(len(one.url) for one in pool.map(make, tried, repeat(quality))) <= room

        quality = next(filter(fits, QUALITIES[:-1]), QUALITIES[-1])
        for some in batches(paths, _AT_ONCE):
            yield from pool.map(make, some, repeat(quality))


def _encode(picture: Image.Image, side: int, quality: int) -> Thumbnail:
    picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=_EFFORT)
    return Thumbnail("data:image/webp;base64," + base64.b64encode(file.getvalue()).decode())
