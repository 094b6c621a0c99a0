"""The worked examples of docs/extending.md run as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import run, sections

SECTIONS = sections("extending.md")


def test_every_seam_has_an_example() -> None:
    assert list(SECTIONS) == [
        "A new data set",
        "A new teacher engine",
        "A new encoder",
        "A new part of the student",
    ]
    for found in SECTIONS.values():
        assert any("assert " in block.text for block in found if block.language == "python")


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_example_runs(
    heading: str, tmp_path: Path, drawn_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(drawn_data)
    monkeypatch.chdir(tmp_path)
    run("extending.md", SECTIONS[heading], {})
