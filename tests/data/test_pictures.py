from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cache.errors import MachineError, UserError
from stages.data.pictures import PictureError, decode, open_picture, read_bytes, to_rgb

MAX_PIXELS = 10_000
SHARED = Path(__file__).parents[2].parent / "shared" / "swig" / "images"


def _reason(path: Path, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(path, max_pixels)
    assert isinstance(caught.value, UserError)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    return caught.value.reason


def _noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _png_header(path: Path, width: int, height: int) -> None:
    """A PNG of 57 bytes that claims to unfold to width x height pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    empty = b"IDAT"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + empty + struct.pack(">I", zlib.crc32(empty))
    )


def test_a_missing_picture(tmp_path: Path) -> None:
    assert _reason(tmp_path / "a.jpg") == "missing: there is no such file in the pictures folder"


def test_a_zero_byte_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert _reason(tmp_path / "a.jpg") == "zero-byte file; copy the picture again"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.bmp"])
def test_a_truncated_picture(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    _noise(60, 40).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reason = _reason(path)
    assert reason.startswith(
        ("truncated or damaged: it cannot be decoded to its end (", "damaged header", "not a pic")
    )
    if name in ("a.jpg", "a.png"):
        assert reason.startswith("truncated or damaged")


def test_a_text_that_calls_itself_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("<html>404</html>")
    assert _reason(path) == (
        "not a picture (JPEG, PNG, WEBP, GIF, BMP are read); its 16 bytes begin with b'<html>404</h'"
    )


def test_a_format_that_would_start_another_program_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    _noise(60, 40).save(path, "EPS")
    assert _reason(path).startswith("not a picture")


def test_a_picture_above_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    _noise(101, 100).save(path)
    assert _reason(path).startswith(
        "101 x 100 = 10100 pixels; at most 10000 are decoded, because a small file can"
    )
    assert "set data.max_image_pixels higher" in _reason(path)
    assert open_picture(path, 10_100).size == (101, 100)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("side", "message"), [(12_000, "144000000 pixels; at most"), (60_000, "exceeds limit of")]
)
def test_a_decompression_bomb_is_refused_before_it_unfolds(tmp_path: Path, side: int, message: str) -> None:
    path = tmp_path / "a.png"
    _png_header(path, side, side)
    assert path.stat().st_size < 100
    reason = _reason(path, 50_000_000)
    assert message in reason
    assert "data.max_image_pixels" in reason
    assert "50000000" in reason


def test_a_file_too_large_for_any_picture_within_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(2_000_000)
    assert _reason(path) == "2000000 bytes; a picture of data.max_image_pixels = 10000 has at most 1128576"


def test_a_folder_and_a_pipe_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert _reason(tmp_path / "folder.jpg") == "not a regular file"
    assert _reason(tmp_path / "pipe.jpg") == "not a regular file"


def test_a_machine_out_of_file_handles_is_not_the_pictures_fault(tmp_path: Path) -> None:
    class Exhausted(type(tmp_path)):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            raise OSError(errno.EMFILE, "Too many open files")

    path = Exhausted(tmp_path / "a.jpg")
    path.write_bytes(b"x")
    with pytest.raises(MachineError, match="Too many open files"):
        read_bytes(path, MAX_PIXELS)


def test_a_picture_of_one_pixel_is_a_picture(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png", MAX_PIXELS).getpixel((0, 0)) == (1, 2, 3)


def _opened(tmp_path: Path, picture: Image.Image, **options: Any) -> tuple[int, ...]:
    path = tmp_path / "a.png"
    picture.save(path, **options)
    opened = open_picture(path, MAX_PIXELS)
    assert opened.mode == "RGB"
    pixel = opened.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(int(value) for value in pixel)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    assert _opened(tmp_path, Image.new("RGBA", (2, 2), (10, 20, 30, 0))) == (255, 255, 255)
    assert _opened(tmp_path, Image.new("LA", (2, 2), (0, 0))) == (255, 255, 255)
    assert _opened(tmp_path, Image.new("RGBA", (2, 2), (10, 20, 30, 255))) == (10, 20, 30)
    assert _opened(tmp_path, Image.new("RGB", (2, 2), (10, 20, 30)), transparency=(10, 20, 30)) == (
        255,
        255,
        255,
    )
    palette = Image.new("RGB", (2, 2), (10, 20, 30)).quantize(2)
    assert _opened(tmp_path, palette) == (10, 20, 30)
    assert _opened(tmp_path, palette, transparency=palette.getpixel((0, 0))) == (255, 255, 255)


def test_every_colour_mode_becomes_rgb(tmp_path: Path) -> None:
    assert _opened(tmp_path, Image.new("L", (2, 2), 77)) == (77, 77, 77)
    assert _opened(tmp_path, Image.new("1", (2, 2), 1)) == (255, 255, 255)
    deep = Image.fromarray(np.full((2, 2), 0x8040, dtype=np.uint16))
    assert _opened(tmp_path, deep) == (0x80, 0x80, 0x80), "16 bits are scaled, not cut at 255"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = np.asarray(open_picture(tmp_path / "a.jpg", MAX_PIXELS))[8, 8]
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "jpg"), ("RGB", "png"), ("RGBA", "png"), ("L", "jpg")])
def test_an_rgb_picture_cannot_be_turned_by_its_metadata(tmp_path: Path, mode: str, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees"
    path = tmp_path / f"a.{suffix}"
    _noise(60, 40).convert(mode).save(path, exif=exif)
    picture = decode(path.read_bytes(), path, 10_000)
    assert ImageOps.exif_transpose(picture).size == (40, 60)
    rgb = to_rgb(picture)
    assert ImageOps.exif_transpose(rgb).size == (60, 40)
    assert np.array_equal(np.asarray(rgb), np.asarray(picture.convert("RGB")))


def test_the_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees"
    _noise(60, 40).save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg", MAX_PIXELS).size == (60, 40)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not at hand")
def test_the_real_pictures_open() -> None:
    assert {open_picture(path, 50_000_000).mode for path in sorted(SHARED.iterdir())} == {"RGB"}
