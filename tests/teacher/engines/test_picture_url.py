from __future__ import annotations

import io
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from cache.keys import digest_file
from stages.data.pictures import PictureError, open_picture
from stages.teacher.engines.engine import Contrast, Request
from stages.teacher.engines.picture_url import picture_url
from tests.teacher.examples import jumping, request

MAX_PIXELS = 10_000


def about(path: Path) -> Request:
    plain = request(jumping(), Contrast("diving", {}))
    return replace(plain, picture=path, picture_digest=digest_file(path))


def draw(path: Path, mode: str = "RGB", **options: Any) -> Path:
    """Noise, so that a picture turned or converted in another way is another picture."""
    noise = np.random.default_rng(0).integers(0, 255, (6, 9, 4), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)
    return path


def contents(url: str) -> tuple[str, bytes]:
    head, _, data = url.partition(";base64,")
    return head.removeprefix("data:"), b64decode(data, validate=True)


@pytest.mark.parametrize(
    ("name", "mime"), [("a.jpg", "image/jpeg"), ("a.png", "image/png"), ("a.webp", "image/webp")]
)
def test_a_plain_picture_travels_as_its_own_bytes(name: str, mime: str, tmp_path: Path) -> None:
    path = draw(tmp_path / name)
    assert contents(picture_url(about(path), "data", MAX_PIXELS)) == (mime, path.read_bytes())


def test_a_plain_picture_can_travel_as_the_address_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "a b%.jpg")
    monkeypatch.chdir(tmp_path)
    url = picture_url(about(Path("a b%.jpg")), "file", MAX_PIXELS)
    assert url == f"file://{tmp_path}/a%20b%25.jpg"


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    return exif


@pytest.mark.parametrize("how", ["data", "file"])
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("transparent.png", "RGBA", {}),
        ("transparent.webp", "RGBA", {"lossless": True}),
        ("colour-key.png", "RGB", {"transparency": (0, 0, 0)}),
        ("palette.gif", "P", {}),
        ("grey.png", "L", {}),
        ("grey16.png", "I;16", {}),
        ("print.jpg", "CMYK", {}),
        ("bitmap.bmp", "RGB", {}),
        ("turned.jpg", "RGB", {"exif": turned()}),
    ],
)
def test_what_servers_read_differently_travels_as_its_stored_pixels(
    name: str, mode: str, options: dict[str, Any], how: Any, tmp_path: Path
) -> None:
    if mode == "I;16":
        path = tmp_path / name
        Image.fromarray(np.arange(54, dtype=np.uint16).reshape(6, 9) * 1000).save(path)
    else:
        path = draw(tmp_path / name, mode, **options)
    mime, data = contents(picture_url(about(path), how, MAX_PIXELS))
    assert mime == "image/png"
    sent = Image.open(io.BytesIO(data))
    assert (sent.format, sent.mode, sent.has_transparency_data) == ("PNG", "RGB", False)
    assert sent.getexif().get(Base.Orientation) is None
    stored = open_picture(path, MAX_PIXELS)
    assert sent.size == stored.size == (9, 6)
    assert sent.tobytes() == stored.tobytes()


def test_the_first_of_several_frames_travels(tmp_path: Path) -> None:
    path = tmp_path / "moving.webp"
    first, second = Image.new("RGB", (9, 6), "red"), Image.new("RGB", (9, 6), "blue")
    first.save(path, save_all=True, append_images=[second], lossless=True)
    mime, data = contents(picture_url(about(path), "data", MAX_PIXELS))
    assert mime == "image/png"
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("how", ["data", "file"])
def test_a_file_that_changed_is_refused(how: Any, tmp_path: Path) -> None:
    asked = about(draw(tmp_path / "a.jpg"))
    draw(tmp_path / "a.jpg", quality=20)
    with pytest.raises(ValueError, match="the picture file changed since it was checked"):
        picture_url(asked, how, MAX_PIXELS)


@pytest.mark.parametrize("how", ["data", "file"])
def test_a_picture_above_the_bound_is_refused(how: Any, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="9 x 6 = 54 pixels; at most 53 are decoded"):
        picture_url(about(draw(tmp_path / "a.jpg")), how, 53)
