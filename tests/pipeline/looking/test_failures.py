"""What counts as failed is the same wherever it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cache.kinds import KINDS
from cache.paths import StorePaths
from cache.rationales import QuarantineRow, append_quarantine, append_rationales
from pipeline.config import Config
from pipeline.looking import inspect
from pipeline.workspace import Workspace
from tests.cache.small_store import PRODUCER, embed_pictures, four, row

ASKED, EMBEDDED = "generate-rationales", "embed-teacher"


def lost(image: str, attempts: int, key: str = "key", stage: str = ASKED) -> QuarantineRow:
    return QuarantineRow(image, stage, f"why of {image}", attempts, "", key)


def two_of(image: str, attempt: int, status: str) -> list[dict[str, object]]:
    """Two accepted rationales and two of the given status."""
    kept = [row(image, kind) for kind in KINDS[:2]]
    return kept + [row(image, kind, attempt=attempt, status=status, reason="short") for kind in KINDS[2:]]


@pytest.fixture
def workspace(tmp_path: Path, small_config: Callable[..., Config]) -> Workspace:
    """Failures that stand and such as were mended, each picture named by which."""
    config = small_config(tmp_path / "run")
    store = StorePaths(config.store)
    append_rationales(store, [*two_of("stands-partly.jpg", 0, "rejected")], PRODUCER)
    append_quarantine(
        store,
        [
            lost("stands.jpg", 1),
            lost("stands-partly.jpg", 1),
            lost("stands-unread.jpg", 0, stage=EMBEDDED),
            QuarantineRow("stands-broken.jpg", "data", "truncated", 0, "", "f"),
            lost("mended.jpg", 1),
            lost("mended-partly.jpg", 1),
            lost("mended-judged-later.jpg", 1),
            lost("mended-other-prompt.jpg", 1, key="old"),
            lost("mended-read.jpg", 0, stage=EMBEDDED),
            QuarantineRow("mended-replaced.jpg", "data", "truncated", 0, "", "f"),
        ],
        PRODUCER,
    )
    whole = ("mended", "mended-partly", "mended-other-prompt", "mended-replaced")
    rows = [line for name in whole for line in four(f"{name}.jpg")]
    append_rationales(store, [*rows, *two_of("mended-judged-later.jpg", 1, "rejected")], PRODUCER)
    embed_pictures(store, ["mended-read.jpg"])
    return Workspace(config)


def test_summary_and_rows_agree_on_what_failed(workspace: Workspace) -> None:
    listed = inspect.rows(workspace, {"status": "failed"}, False, 0).data
    assert sorted(line["image"] for line in listed) == [
        "stands-broken.jpg",
        "stands-partly.jpg",
        "stands-unread.jpg",
        "stands.jpg",
    ]
    summary = inspect.summary(workspace)
    assert sum(summary.data["failed"].values()) == len(listed)
    assert summary.data["failed"].keys() == {line["reason"] for line in listed}
    assert "mended since: 6; `mipd-pipe inspect rows --status failed --versions`" in summary.text


def test_what_was_mended_is_shown_as_such_when_asked_for(workspace: Workspace) -> None:
    listed = inspect.rows(workspace, {"status": "failed"}, True, 0).data
    assert len(listed) == 10
    assert all(line["mended"] == line["image"].startswith("mended") for line in listed)
    assert "why of mended.jpg (mended since)" in inspect.show(workspace, "mended.jpg").text
    assert "why of stands-partly.jpg\n" in inspect.show(workspace, "stands-partly.jpg").text


def test_the_summary_tells_how_many_are_whole_of_how_many(
    workspace: Workspace, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    """4 of the 6 pictures with rationales have all four; without the data only the store can be counted."""
    summary = inspect.summary(workspace)
    training = len(workspace.data.split("train"))
    line = f"all four rationales are usable of 4 of {training} training pictures, 6 of which have some"
    assert line in summary.text.split("\n")
    assert (summary.data["complete"], summary.data["training"]) == (4, training)
    away = Workspace(small_config(tmp_path / "run", f"data.root={tmp_path}/gone", "data.demo_images=64"))
    without = inspect.summary(away)
    assert "all four rationales are usable of 4 of 6 pictures with rationales (of how many" in without.text
    assert without.data["training"] is None
    assert not (tmp_path / "gone").exists()
