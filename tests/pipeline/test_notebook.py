"""docs/notebook.md runs, and what it shows is of the kind that it prints."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.config import Config
from tests.docs.pages import Block, run, sections

PAGE = "notebook.md"
BLOCKS = [block for found in sections(PAGE).values() for block in found]


def skeleton(output: str) -> list[str]:
    """What does not depend on the data: names of columns and banks, kinds of tensors, how many of each."""
    lines = output.splitlines()
    kept = [re.sub(r"\s+", " ", after) for before, after in pairwise(lines) if before.startswith("┌")]
    kept += re.findall(r"torch\.\w+(?=\(|$)|torch\.bfloat16|'[a-z]+-[a-z]+'", output)
    kept += ["box" for line in lines if re.search(r"\[\d+, \d+, \d+, \d+\]$", line)][:1]
    return kept


def test_every_block_that_prints_shows_what_it_printed() -> None:
    for block, following in zip(BLOCKS, [*BLOCKS[1:], Block("", "", 0)], strict=True):
        if block.language == "python":
            assert (following.language == "text") == ("print(" in block.text), f"{PAGE}:{block.line}"


def test_the_page_runs_on_a_smaller_demo(
    trained: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(trained.run_dir)
    (tmp_path / "runs" / "demo-data").symlink_to(trained.data.root)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        if block.language == "python":
            run(PAGE, [block], names)
        else:
            printed = capsys.readouterr().out
            assert skeleton(printed) == skeleton(block.text), f"{PAGE}:{block.line}\n{printed}"
