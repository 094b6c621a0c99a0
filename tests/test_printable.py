"""Nothing that somebody else wrote can steer a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stages.printable import printable


def test_escapes_and_direction_marks_are_spelled_out() -> None:
    assert printable("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\u202ec\n"


@given(st.text())
def test_only_printable_letters_and_line_ends_remain(text: str) -> None:
    assert all(letter.isprintable() or letter == "\n" for letter in printable(text))
