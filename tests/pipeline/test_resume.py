"""A stage killed with SIGKILL part-way and started again ends where an undisturbed one does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from cache.bank_reader import BankReader
from cache.errors import UserError
from cache.paths import StorePaths
from cache.rationales import VOLATILE, read_rationales
from cache.vectors import PICTURES, RATIONALES, read_vectors
from cache.verify import Fault, verify
from pipeline import stage_two
from pipeline.config import Config, dump_config
from pipeline.leak_rule import leak_rule
from pipeline.workspace import Workspace
from stages.student.training.checkpoint import BEST
from stages.student.training.tensor_file import load_facts, load_tensors

SCRIPT = Path(__file__).with_name("stopped_run.py")
ROOT = Path(__file__).parents[2]


class Attempt:
    """One run folder, driven stage by stage in processes of their own."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.config = config.model_copy(update={"run_dir": folder / "run"})
        self.store = StorePaths(self.config.store)
        self._file = folder / "config.yaml"
        self.done: subprocess.CompletedProcess[str]
        folder.mkdir(exist_ok=True)
        self._file.write_text(dump_config(self.config))

    def start(
        self, stage: str, stop_after: int = 0, by: str = "SIGKILL", expect: int | None = None
    ) -> list[str]:
        """Runs a stage and returns what it asked about. With `stop_after`, expects its end by the signal."""
        asked = self.folder / "asked.txt"
        asked.write_text("")
        command = [str(SCRIPT), str(stop_after), by, str(asked), stage, "--config", str(self._file)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=self.folder, env=environment
        )
        if expect is None:
            expect = -signal.Signals[by] if stop_after else 0
        assert self.done.returncode == expect, self.done.stderr
        return asked.read_text().split()

    def rationales(self) -> pl.DataFrame:
        frame = read_rationales(self.store).drop(*VOLATILE)
        return frame.sort("image", "aspect", "polarity", "attempt")

    def faults(self) -> list[Fault]:
        return verify(self.store, leak=leak_rule(Workspace(self.config).data))

    def finished(self) -> set[str]:
        return set(read_rationales(self.store, ["image"])["image"])

    def bank(self, name: str) -> dict[str, np.ndarray]:
        reader = BankReader(self.store, name)
        rows = {image: np.array(reader.payload(image)) for image in sorted(reader.images)}
        reader.close()
        return rows

    def vectors(self, family: str) -> pl.DataFrame:
        return read_vectors(self.store, family).sort("id")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]) -> Attempt:
    """All three stages without a stop."""
    folder = tmp_path_factory.mktemp("undisturbed")
    attempt = Attempt(folder, small_config(folder))
    for stage in STAGES:
        attempt.start(stage)
    return attempt


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]) -> Attempt:
    """The same configuration in another folder, for the tests below to stop."""
    folder = tmp_path_factory.mktemp("stopped")
    return Attempt(folder, small_config(folder))


STAGES = ("generate-rationales", "embed-teacher", "train-student")


def test_rationales_are_asked_for_once(undisturbed: Attempt, stopped: Attempt) -> None:
    """Killed after 50 answers with parts of 20 pictures: two parts are finished, ten answers are lost."""
    first = stopped.start("generate-rationales", stop_after=50)
    finished = stopped.finished()
    assert len(finished) == 40
    assert finished <= set(first)
    assert stopped.faults() == []
    second = stopped.start("generate-rationales")
    assert not finished & set(second), "a finished picture was asked for again"
    assert finished | set(second) == undisturbed.finished()
    assert len(second) == len(set(second))
    assert stopped.rationales().equals(undisturbed.rationales())
    assert stopped.start("generate-rationales") == []


def test_banks_are_filled_once(undisturbed: Attempt, stopped: Attempt) -> None:
    """Killed in the third shard of 40 pictures: two shards are finished and not made again."""
    stopped.start("generate-rationales")
    stopped.start("embed-teacher", stop_after=5)
    finished = stopped.bank("teacher-vision")
    assert len(finished) == 80
    asked = stopped.start("embed-teacher")
    rows = {name: stopped.bank(name) for name in ("teacher-vision", "student-vision", "rationale-text")}
    assert len(asked) == len(rows["teacher-vision"]) - len(finished) + len(rows["student-vision"])
    for name, bank in rows.items():
        expected = undisturbed.bank(name)
        assert bank.keys() == expected.keys()
        assert all(np.array_equal(bank[image], expected[image]) for image in bank)
    for family in (PICTURES, RATIONALES):
        assert stopped.vectors(family).equals(undisturbed.vectors(family))
    assert stopped.faults() == []
    assert stopped.start("embed-teacher") == []


@pytest.mark.parametrize("steps", [1, 5, 13])
def test_training_goes_on_to_the_same_weights(undisturbed: Attempt, tmp_path: Path, steps: int) -> None:
    """Killed before the first state, in mid-epoch, and in the second epoch: equal to the bit."""
    config = undisturbed.config.model_copy(update={"store_dir": undisturbed.config.store})
    other = Attempt(tmp_path, config)
    other.start("train-student", stop_after=steps)
    other.start("train-student")
    weights, facts = load_tensors(other.config.run_dir / "student" / BEST)
    expected, expected_facts = load_tensors(undisturbed.config.run_dir / "student" / BEST)
    assert facts == expected_facts
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


@pytest.mark.parametrize(("by", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_polite_stop_of_training_costs_no_step(
    undisturbed: Attempt, tmp_path: Path, by: str, code: int
) -> None:
    """Stopped after step 4, between two states: it goes on at step 5, to the same weights."""
    config = undisturbed.config.model_copy(update={"store_dir": undisturbed.config.store})
    other = Attempt(tmp_path, config)
    other.start("train-student", stop_after=4, by=by, expect=code)
    assert "training stopped at step 4, which is written to" in other.done.stderr
    assert "the same command goes on from there" in other.done.stderr
    other.start("train-student")
    assert "going on at epoch 1, step 4" in other.done.stderr
    weights, _ = load_tensors(other.config.run_dir / "student" / BEST)
    expected, _ = load_tensors(undisturbed.config.run_dir / "student" / BEST)
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_another_precision_than_the_run_began_with_is_refused(undisturbed: Attempt) -> None:
    begun = load_facts(undisturbed.config.run_dir / "student" / BEST)["precision"]
    other = {"fp32": "bf16", "bf16": "fp32"}[begun]
    changed = undisturbed.config.train.model_copy(update={"precision": other})
    workspace = Workspace(undisturbed.config.model_copy(update={"train": changed}))
    with pytest.raises(UserError, match=rf"\n  train.precision: '?{begun}'? -> '?{other}'?\n"):
        stage_two.train_student(workspace)


def test_going_on_with_other_settings_is_refused_by_name(undisturbed: Attempt) -> None:
    changed = undisturbed.config.train.model_copy(update={"lr": 0.5})
    workspace = Workspace(undisturbed.config.model_copy(update={"train": changed}))
    with pytest.raises(UserError, match=r"other settings or data.*\n  train.lr: 0.001 -> 0.5\nPut them back"):
        stage_two.train_student(workspace)
    fewer = undisturbed.config.train.model_copy(update={"epochs": 1})
    with pytest.raises(UserError, match=r"has trained 2 epochs, train.epochs asks for 1: its figures"):
        stage_two.train_student(Workspace(undisturbed.config.model_copy(update={"train": fewer})))
    recorded = (undisturbed.config.run_dir / "config.yaml").read_text()
    assert recorded == dump_config(undisturbed.config), "a refused run must not change what is recorded"


def test_a_changed_picture_touches_its_own_rows_alone(
    undisturbed: Attempt, drawn_data: Path, tmp_path: Path, small_config: Callable[..., Config]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn_data, data)
    attempt = Attempt(tmp_path, small_config(tmp_path, f"data.root={data}"))
    attempt.start("generate-rationales")
    before = attempt.rationales()
    image = before["image"][0]
    picture = data / "images_512" / image
    Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture)
    assert attempt.start("generate-rationales") == [image]
    after = attempt.rationales()
    same = pl.col("image") != image
    assert after.filter(same).equals(before.filter(same))
    assert after.filter(~same & pl.col("current")).height == 4
    assert after.filter(~same & ~pl.col("current")).height == 4


def test_a_prompt_that_goes_back_asks_for_nothing(
    tmp_path: Path, small_config: Callable[..., Config]
) -> None:
    """Another contrast regenerates all rows; going back to the first copies its rows out of the store."""
    first = Attempt(tmp_path, small_config(tmp_path))
    asked = first.start("generate-rationales")
    rows = first.rationales().filter("current").drop("current", "usable")
    other = Attempt(tmp_path, small_config(tmp_path, "teacher.seed=7"))
    assert sorted(other.start("generate-rationales")) == sorted(asked)
    back = Attempt(tmp_path, small_config(tmp_path))
    assert back.start("generate-rationales") == []
    assert back.rationales().filter("current").drop("current", "usable").equals(rows)


@pytest.mark.parametrize(("by", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_polite_stop_keeps_everything_finished(
    tmp_path: Path, small_config: Callable[..., Config], by: str, code: int
) -> None:
    """Each writes the unfinished part: only the picture in flight is asked again."""
    attempt = Attempt(tmp_path, small_config(tmp_path))
    attempt.start("generate-rationales", stop_after=33, by=by, expect=code)
    finished = attempt.finished()
    assert len(finished) == 33
    assert "stopped; everything finished is kept: run the same command to go on" in attempt.done.stderr
    assert not finished & set(attempt.start("generate-rationales"))
