from __future__ import annotations

from stages.teacher.engines.fault_text import plain


def test_errors_are_one_line_without_addresses() -> None:
    error = ValueError("cannot identify image file <_io.BytesIO object at 0x7f3a5c0b2d40>\nmore")
    assert plain(error) == "cannot identify image file <_io.BytesIO object>"
    assert plain(KeyError()) == "KeyError"
    assert len(plain(ValueError("x" * 9999))) == 300
