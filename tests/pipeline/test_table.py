"""Tables and sizes for a person."""

from __future__ import annotations

import pytest

from pipeline.table import render, size


def test_numbers_stand_right_and_text_left() -> None:
    assert render(["name", "count"], [["a", 1], ["long name", 20]]) == (
        "name       count\n---------  -----\na              1\nlong name     20"
    )


def test_what_somebody_else_wrote_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in render(["x"], [["\x1b[2J"]])


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 40, "3.0 TiB"), (5 << 50, "5120.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
