"""Names and values as messages show them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """``; the nearest known is 'jumping'``, or nothing where no name comes near."""
    # A name of a verb or role is short; comparing a megabyte of text would take minutes.
    matches = difflib.get_close_matches(name[:100], list(known), n=1)
    return f"; the nearest known is {matches[0]!r}" if matches else ""


def short(value: object, limit: int = 80) -> str:
    """A value as Python spells it, cut to `limit` letters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def is_storable(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and no UTF-8 file can hold."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
