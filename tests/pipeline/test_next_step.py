"""`mipd-pipe` alone names the command that goes on from what is here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cache.manifest import load_manifest
from cache.rationales import QuarantineRow, append_quarantine
from pipeline import stage_one
from pipeline.config import Config, dump_config
from pipeline.next_step import CHECKPOINT, next_step
from pipeline.workspace import Workspace
from stages.student.training.checkpoint import BEST


def command(said: str) -> str:
    return next(line for line in said.splitlines() if line.startswith("next: ")).removeprefix(
        "next: mipd-pipe "
    )


def test_an_empty_folder_leads_to_the_demo_and_to_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = next_step(None)
    assert "mipd-pipe run " in said
    assert "mipd-pipe init --data DIR" in said


def test_each_stage_that_is_done_leads_to_the_next(
    tmp_path: Path, small_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    Path("mipd.yaml").write_text(dump_config(config))
    workspace = Workspace(config)
    assert command(next_step(None)) == "run"
    stage_one.generate_rationales(workspace)
    assert command(next_step(None)) == "embed-teacher"
    stage_one.embed_teacher(workspace)
    assert command(next_step(None)) == "train-student"
    checkpoint = config.run_dir / CHECKPOINT
    checkpoint.parent.mkdir()
    checkpoint.touch()
    assert command(next_step(None)) == "evaluate"
    (config.run_dir / "metrics.json").touch()
    assert command(next_step(None)) == "inspect report"


def test_a_missing_data_set_leads_to_init_and_a_named_file_is_named_again(
    tmp_path: Path, small_config: Callable[..., Config]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(dump_config(small_config(tmp_path / "run", f"data.root={tmp_path / 'gone'}")))
    said = next_step(file)
    assert f"data.root {tmp_path / 'gone'} is not there" in said
    assert command(said) == f"init --data DIR -c {file}"


def test_failures_are_told_until_they_are_made_good(
    tmp_path: Path, small_config: Callable[..., Config]
) -> None:
    config = small_config(tmp_path / "run")
    file = tmp_path / "mine.yaml"
    file.write_text(dump_config(config))
    workspace = Workspace(config)
    stage_one.generate_rationales(workspace)
    assert "  failures" not in next_step(file)
    image = workspace.data.split("train")[0].image
    row = QuarantineRow(image, "embed-teacher", "cannot be read", 0, "", "key")
    append_quarantine(workspace.store, [row], {})
    failed = "\n  failures    1 picture; see why with `mipd-pipe inspect rows --status failed`\n"
    assert failed in next_step(file)
    (part,) = load_manifest(workspace.store).of("quarantine")
    whole = (workspace.store.root / part.path).read_bytes()
    (workspace.store.root / part.path).write_bytes(whole[:-20])
    damaged = "\n  failures    cannot be read; find the damage with `mipd-pipe inspect verify`\n"
    assert damaged in next_step(file)
    (workspace.store.root / part.path).write_bytes(whole)
    stage_one.embed_teacher(workspace)
    assert "  failures" not in next_step(file)


def test_the_checkpoint_is_looked_for_where_training_puts_it() -> None:
    assert CHECKPOINT.name == BEST
