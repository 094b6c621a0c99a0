"""Opens pictures that nobody has vouched for."""

from __future__ import annotations

import errno
import io
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cache.errors import MachineError, UserError

# Formats a photograph comes in. Pillow would open any of its forty otherwise, among them EPS, which it
# hands to an external interpreter. Named by their classes, whose import registers them: Pillow would
# import all forty at the first picture, and several threads at once.
FORMATS = tuple(
    str(c.format) for c in (JpegImageFile, PngImageFile, WebPImageFile, GifImageFile, BmpImageFile)
)
# No stored pixel is larger (four channels of 16 bits), so a bigger file is no picture within the bound.
BYTES_PER_PIXEL = 8
HEADER_BYTES = 1 << 20

# The bound on pixels is checked below and raised as an error; Pillow's own warning would only repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class PictureError(UserError):
    """A picture that cannot be used; `reason` says why without naming the file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def open_picture(path: Path, max_pixels: int) -> Image.Image:
    """The picture as RGB, in the orientation it is stored in, transparent parts white.

    The EXIF orientation is not applied: SWiG's boxes count the stored pixels, and its loaders convert to
    RGB without turning the picture.

    Raises PictureError where the file is missing, empty, truncated, no picture, or above `max_pixels`.
    """
    return to_rgb(decode(read_bytes(path, max_pixels), path, max_pixels))


def read_bytes(path: Path, max_pixels: int) -> bytes:
    """The bytes of a picture file. Raises PictureError, or MachineError where the machine is at its limit."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device would never end
            raise PictureError(path, "not a regular file")
        size = status.st_size
        limit = max_pixels * BYTES_PER_PIXEL + HEADER_BYTES
        if size > limit:
            raise PictureError(
                path, f"{size} bytes; a picture of data.max_image_pixels = {max_pixels} has at most {limit}"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise PictureError(path, "missing: there is no such file in the pictures folder") from None
    except OSError as reason:
        if reason.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise MachineError(
                f"{path}: cannot be opened ({reason.strerror}); close other programs"
            ) from reason
        raise PictureError(path, f"cannot be read ({reason.strerror})") from None
    if not data:
        raise PictureError(path, "zero-byte file; copy the picture again")
    return data


def decode(data: bytes, path: Path, max_pixels: int) -> Image.Image:
    """A fully decoded picture in its stored colour mode. Raises PictureError; `path` is for messages."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError(
            path, f"not a picture ({', '.join(FORMATS)} are read); {_start_of(data)}"
        ) from None
    except Image.DecompressionBombError as reason:
        raise PictureError(path, f"{reason}; the bound is data.max_image_pixels = {max_pixels}") from None
    except MemoryError:
        raise
    except Exception as reason:  # a plugin meeting damaged data raises whatever its parser ran into
        raise PictureError(path, f"damaged header ({reason})") from None
    if picture.width * picture.height > max_pixels:
        raise PictureError(
            path,
            f"{picture.width} x {picture.height} = {picture.width * picture.height} pixels; at most "
            f"{max_pixels} are decoded, because a small file can unfold to more than the memory holds; "
            "set data.max_image_pixels higher if the picture is meant",
        )
    try:
        picture.load()
    except MemoryError:
        raise
    except Exception as reason:  # as above
        raise PictureError(
            path, f"truncated or damaged: it cannot be decoded to its end ({reason}); copy the picture again"
        ) from None
    return picture


def to_rgb(picture: Image.Image) -> Image.Image:
    """RGB from any colour mode: transparent parts over white, 16-bit grey scaled to 8 bits.

    Without the picture's metadata: vLLM would turn it as the EXIF orientation says, and boxes count the
    pixels as they are stored.
    """
    rgb = _converted(picture)
    if rgb.info.keys().isdisjoint(_MAY_TURN):
        return rgb
    bare = Image.new("RGB", rgb.size)
    bare.paste(rgb)
    return bare


_MAY_TURN = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # where Pillow finds an orientation


def _converted(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    if picture.mode.startswith("I"):
        # Pillow's own conversion cuts at 255 what runs to 65535.
        grey = np.asarray(picture).astype(np.uint32) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")


def _start_of(data: bytes) -> str:
    return f"its {len(data)} bytes begin with {data[:12]!r}"
