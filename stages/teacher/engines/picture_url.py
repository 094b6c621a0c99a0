"""A picture as the address under which a chat request carries it."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Literal

from PIL import Image
from PIL.ExifTags import Base

from cache.keys import digest_bytes
from stages.data.pictures import decode, read_bytes, to_rgb
from stages.teacher.engines.engine import Request

_MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_UPRIGHT = 1


def picture_url(request: Request, how: Literal["data", "file"], max_pixels: int) -> str:
    """The file's own bytes as a data URL, or the file's address.

    What servers read in different ways (other colour modes than RGB, transparency, other formats, several
    frames, an EXIF orientation) travels as a PNG of its stored pixels in RGB: `how` decides no answer.

    Raises PictureError, ValueError where the file is no longer the one the request is about, or MachineError.
    """
    data = read_bytes(request.picture, max_pixels)
    if digest_bytes(data) != request.picture_digest:
        raise ValueError("the picture file changed since it was checked; run the same command again")
    picture = decode(data, request.picture, max_pixels)
    mime = _MIME.get(picture.format or "") if _is_plain(picture) else None
    if mime is None:
        data, mime = _png(to_rgb(picture)), "image/png"
    elif how == "file":
        return request.picture.absolute().as_uri()
    return f"data:{mime};base64,{b64encode(data).decode()}"


def _is_plain(picture: Image.Image) -> bool:
    """Whether every reader makes the same RGB pixels of the file.

    vLLM turns a picture as its EXIF orientation says, but the boxes count the pixels as they are stored.
    """
    if picture.mode != "RGB" or picture.has_transparency_data or getattr(picture, "is_animated", False):
        return False
    try:
        return bool(picture.getexif().get(Base.Orientation, _UPRIGHT) == _UPRIGHT)
    except Exception:  # a damaged EXIF block raises whatever its parser ran into
        return False


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    # Only the pixels: Pillow would take a transparent colour along, and other versions the orientation.
    Image.frombytes("RGB", picture.size, picture.tobytes()).save(file, "PNG", compress_level=1)
    return file.getvalue()
