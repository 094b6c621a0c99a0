"""Text somebody else wrote, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Characters that could steer a terminal or turn the direction of text are spelled out as escapes."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )
