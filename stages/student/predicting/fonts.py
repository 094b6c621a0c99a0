"""Fonts for what is written on pictures, in whatever script a verb or a role is named."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

# Looked for where the system keeps its fonts, the widest coverage of a common system first. Pillow's own
# font, which is always there, knows Latin letters alone.
_COMMON = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansArabic-Regular.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)
_NO_LETTER = "\uffff"  # in no font: shows what a font draws for a letter it lacks


def font_for(text: str, size: int) -> FreeTypeFont:
    """A font of `size` pixels that has every letter of `text`; Pillow's own where none here has.

    Letters that no font here has are drawn as empty boxes; the JSON of the prediction spells them.
    """
    letters = frozenset(letter for letter in text if not letter.isspace())
    for font in _fonts(size):
        if letters <= _known(font, letters):
            return font
    return next(_fonts(size))


def _fonts(size: int) -> Iterator[FreeTypeFont]:
    yield _own(size)
    for name in _COMMON:
        found = _system(name, size)
        if found is not None:
            yield found


@lru_cache(maxsize=64)
def _own(size: int) -> FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, FreeTypeFont), "Pillow's wheels bring FreeType"
    return font


@lru_cache(maxsize=256)
def _system(name: str, size: int) -> FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _known(font: FreeTypeFont, letters: frozenset[str]) -> frozenset[str]:
    return frozenset(letter for letter in letters if letter.isascii() or _has(font, letter))


@lru_cache(maxsize=4096)
def _has(font: FreeTypeFont, letter: str) -> bool:
    return _look(font, letter) != _look(font, _NO_LETTER)


def _look(font: FreeTypeFont, letter: str) -> bytes:
    mask = font.getmask(letter)
    return repr(mask.size).encode() + bytes(mask)
