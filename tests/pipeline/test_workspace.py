"""Pictures are checked when a command asks about them, and only those it asks about."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cache.errors import FindingsError
from pipeline.config import Config
from pipeline.workspace import Workspace


def remembered(workspace: Workspace) -> list[str]:
    images: list[str] = pq.read_table(workspace.config.run_dir / "pictures.parquet")["image"].to_pylist()
    return images


def test_a_worker_checks_its_own_pictures_alone(tmp_path: Path, small_config: Callable[..., Config]) -> None:
    workspace = Workspace(small_config(tmp_path / "run"))
    some = [sample.image for sample in workspace.data.samples][:7]
    ledger = workspace.check_pictures(some)
    assert remembered(workspace) == sorted(some)
    assert [ledger.problem(image) for image in some] == [None] * 7
    assert workspace.ledger is ledger, "what was read once is not read again"
    assert remembered(workspace) == sorted(workspace.data.annotated_sizes())


def test_a_damaged_ledger_is_told_once(
    tmp_path: Path, small_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path / "run")
    config.run_dir.mkdir()
    (config.run_dir / "pictures.parquet").write_bytes(b"no ledger")
    workspace = Workspace(config)
    some = [sample.image for sample in workspace.data.samples][:3]
    for _ in range(2):
        workspace.check_pictures(some)
    assert capsys.readouterr().err.count("not a readable picture ledger") == 1


class _BrokenError(Exception):
    pass


@pytest.mark.parametrize(
    ("raised", "end"),
    [(None, "done"), (FindingsError("too many"), "findings"), (_BrokenError(), "stopped")],
    ids=["done", "findings", "stopped"],
)
def test_how_a_stage_ended_is_recorded(
    tmp_path: Path, small_config: Callable[..., Config], raised: Exception | None, end: str
) -> None:
    config = small_config(tmp_path / "run")
    with suppress(FindingsError, _BrokenError), Workspace(config).stage("embed-teacher"):
        if raised is not None:
            raise raised
    _, last = (config.run_dir / "events.jsonl").read_text().splitlines()
    assert json.loads(last)["end"] == end
    assert (config.run_dir / "config.yaml").exists() == (end == "done")
