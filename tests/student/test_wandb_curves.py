"""Curves go to Weights & Biases where its package is installed, and training says how where it is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from cache.errors import UserError
from stages.student.training.training_log import TrainingLog
from stages.student.wandb_curves import WandbCurves

FAKE = """
calls = []


class Run:
    def log(self, figures, step):
        calls.append(("log", figures, step))

    def finish(self):
        calls.append(("finish",))


def init(**options):
    calls.append(("init", options))
    return Run()
"""


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A small package of that name, in the place of the real one."""
    (tmp_path / "wandb.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    import importlib

    yield importlib.import_module("wandb")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)


def test_every_step_and_epoch_is_sent_and_a_resumed_run_goes_on(
    world: Any, wandb: Any, tmp_path: Path
) -> None:
    loss = world.objective()(world.batch(2), world.labels, world.candidates)
    for first in (0, 2):
        log = TrainingLog(
            tmp_path / "log", first, WandbCurves("mipd", tmp_path / "log", {"train": {"lr": 1}})
        )
        for step in (first + 1, first + 2):
            log.step(loss, step)
        log.epoch(1, first + 2, 12.5)
        log.close()
    begun = [call[1] for call in wandb.calls if call[0] == "init"]
    assert [one["project"] for one in begun] == ["mipd", "mipd"]
    assert begun[0]["config"] == {"train": {"lr": 1}}
    assert begun[0]["id"] == begun[1]["id"]
    assert len(begun[0]["id"]) == 16
    assert begun[1]["resume"] == "allow"
    sent = [call for call in wandb.calls if call[0] == "log"]
    assert [call[2] for call in sent] == [1, 2, 2, 3, 4, 4]
    assert sent[0][1]["loss/total"] == pytest.approx(loss.total.item())
    assert sent[2][1] == {"epoch": 1, "dev/selected": 12.5}
    assert [call for call in wandb.calls if call[0] == "finish"] == [("finish",)] * 2


def test_a_missing_package_is_answered_with_its_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError) as refused:
        WandbCurves("mipd", tmp_path, {})
    said = str(refused.value)
    assert said.startswith("train.wandb names project 'mipd', but wandb cannot be loaded (")
    assert said.endswith("install it with `pip install wandb`, or set train.wandb to ''")
