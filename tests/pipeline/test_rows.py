"""`mipd-pipe inspect rows`: its filters, and its CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.errors import UserError
from cache.kinds import KINDS
from cache.paths import StorePaths
from cache.rationales import SCHEMA, append_rationales
from pipeline.config import Config, dump_config
from pipeline.looking import inspect
from pipeline.workspace import Workspace
from tests.cache.small_store import PRODUCER, four, row
from tests.pipeline.test_cli import Shell, shell

__all__ = ["shell"]  # a fixture


@pytest.fixture
def workspace(tmp_path: Path, small_config: Callable[..., Config]) -> Workspace:
    """Three pictures: points 1 to 4 for the first, none for the others; the last is of another split."""
    config = small_config(tmp_path / "run")
    scored = [row("a.jpg", kind, score=points) for points, kind in enumerate(KINDS, start=1)]
    rows = [*scored, *four("b.jpg", verb="riding"), *four("c.jpg", split="dev", text="two\nlines \x1b[2J")]
    append_rationales(StorePaths(config.store), rows, PRODUCER)
    return Workspace(config)


def images(workspace: Workspace, **filters: str) -> list[str]:
    return [found["image"] for found in inspect.rows(workspace, filters, False, 0).data]


@pytest.mark.parametrize(
    ("score", "points"), [("2", [2]), ("2-3", [2, 3]), ("4-4", [4]), ("5", []), ("none", [None] * 8)]
)
def test_a_score_is_a_number_a_range_or_none(
    workspace: Workspace, score: str, points: list[int | None]
) -> None:
    found = inspect.rows(workspace, {"score": score}, False, 0).data
    assert [one["score"] for one in found] == points


@pytest.mark.parametrize("score", ["0", "6", "3-1", "high", "", "1-", "\u0663"])
def test_another_score_is_refused(workspace: Workspace, score: str) -> None:
    with pytest.raises(UserError, match="is neither a number of points from 1 to 5, nor a range such as 1-3"):
        images(workspace, score=score)


def test_filters_are_all_met(workspace: Workspace) -> None:
    assert images(workspace, split="dev") == ["c.jpg"] * 4
    assert images(workspace, split="dev", aspect="gaze", polarity="negative") == ["c.jpg"]
    assert images(workspace, split="dev", verb="riding") == []
    assert images(workspace, verb="riding", status="accepted") == ["b.jpg"] * 4


def test_an_unknown_verb_is_answered_with_the_nearest(workspace: Workspace) -> None:
    message = (
        "--verb 'jumpin': the store has no rationale of that verb; 2 verbs have some; the nearest: 'jumping'"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        images(workspace, verb="jumpin")
    with pytest.raises(UserError, match=r"; 2 verbs have some$"):
        images(workspace, verb="zzz")


def test_a_split_that_there_is_not_is_refused(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="--split 'val' is not one of train, dev, test"):
        images(workspace, split="val")


def test_csv_has_every_column_and_row_and_no_escapes(workspace: Workspace) -> None:
    text = inspect.rows(workspace, {}, False, 0, as_csv=True).text
    head, *rows = csv.reader(io.StringIO(text))
    assert head == [*SCHEMA.names, "current", "usable"]
    assert len(rows) == 12
    assert dict(zip(head, rows[-1], strict=True))["text"] == "two\nlines \\x1b[2J"
    assert [dict(zip(head, line, strict=True))["score"] for line in rows[:5]] == ["1", "2", "3", "4", ""]
    assert "\x1b" not in text


def test_csv_of_nothing_is_its_head_and_a_limit_is_told_beside_it(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect.rows(workspace, {"score": "5"}, False, 0, as_csv=True).text.startswith("image,split,verb")
    assert "\n" not in inspect.rows(workspace, {"score": "5"}, False, 0, as_csv=True).text
    assert len(inspect.rows(workspace, {}, False, 2, as_csv=True).text.split("\n")) == 3
    assert "note: 2 of 12 rows; see more with --limit" in capsys.readouterr().err


def test_the_command_line_passes_every_filter_on(workspace: Workspace, tmp_path: Path, shell: Shell) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(workspace.config), encoding="utf-8")
    asked = ("inspect", "rows", "-c", str(config))
    assert shell.run(*asked, "--score", "1-2", "--split", "train", "--csv") == 0
    assert [line.split(",")[0] for line in shell.out.strip().split("\n")] == ["image", "a.jpg", "a.jpg"]
    assert shell.run(*asked, "--csv", "--json") == 2
    assert "--csv and --json ask for two forms of one answer; give one of them" in shell.err


def test_the_command_line_writes_a_report(workspace: Workspace, tmp_path: Path, shell: Shell) -> None:
    config, page = tmp_path / "config.yaml", tmp_path / "page.html"
    config.write_text(dump_config(workspace.config), encoding="utf-8")
    assert shell.run("inspect", "report", "-c", str(config), "--limit", "2", "--out", str(page)) == 0
    assert "2 of 3 pictures" in shell.out
    assert page.exists()
    assert shell.run("inspect", "report", "-c", str(config), "--thumbnail", "5000") == 2
    assert "--thumbnail 5000 is not from 32 to 2048 pixels" in shell.err
