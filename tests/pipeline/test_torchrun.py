"""Two processes under torchrun train as one does, stop together, and name the one that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline import stage_one, stage_two
from pipeline.config import Config, dump_config
from pipeline.workspace import Workspace
from stages.student.training.checkpoint import BEST
from stages.student.training.tensor_file import load_facts, load_tensors

SCRIPT = Path(__file__).with_name("ranks_run.py")
ROOT = Path(__file__).parents[2]
STILL = tuple(f"student.{part}_dropout=0" for part in ("input", "decoder", "head"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]) -> Config:
    """One epoch of seven steps in one process, which draws no random number."""
    config = small_config(tmp_path_factory.mktemp("alone") / "run", "train.epochs=1", *STILL)
    workspace = Workspace(config)
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    stage_two.train_student(workspace)
    return config


def start(folder: Path, config: Config, rank: int = -1, step: int = 0, how: str = "kill") -> tuple[int, str]:
    """torchrun's exit code, and what the two processes and it said."""
    file = folder / "config.yaml"
    file.write_text(dump_config(config))
    command = ["--standalone", "--nproc-per-node=2", str(SCRIPT), str(rank), str(step), how]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command, "train-student", "--config", str(file)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stderr


def in_two(folder: Path, alone: Config) -> Config:
    """The same run in another folder, each process's half of a batch in two parts."""
    train = alone.train.model_copy(update={"accumulate": 2})
    return alone.model_copy(update={"run_dir": folder / "run", "store_dir": alone.store, "train": train})


def losses(config: Config, name: str) -> list[float]:
    read = EventAccumulator(str(config.run_dir / "student" / "log"))
    read.Reload()
    return [event.value for event in read.Scalars(f"loss/{name}")]


def test_two_processes_train_as_one_though_one_of_them_was_killed(alone: Config, tmp_path: Path) -> None:
    """Killed in step 5: the other stops with its name; both go on at step 5, to one process's weights."""
    config = in_two(tmp_path, alone)
    code, said = start(tmp_path, config, rank=1, step=5)
    assert code == 1
    assert "rank 1 of 2 (process " in said
    assert "ended without a word: killed, out of memory, or with its node; training stopped at step 4" in said
    states = sorted(path.name for path in (config.run_dir / "student").glob("state-*"))
    assert states == ["state-00000003.safetensors", "state-00000004.safetensors"]
    code, said = start(tmp_path, config)
    assert code == 0, said
    assert said.count("going on at epoch 1, step 4") == 1
    for name in ("total", "box_l1", "role_distill", "noun"):
        expected = losses(alone, name)
        assert len(expected) == 7
        assert losses(config, name) == pytest.approx(expected, rel=1e-5)
    weights, facts = load_tensors(config.run_dir / "student" / BEST)
    expected_weights, expected_facts = load_tensors(alone.run_dir / "student" / BEST)
    assert facts["selected"] == pytest.approx(expected_facts["selected"], abs=1)
    apart = torch.cat([(weights[n].float() - t.float()).abs().flatten() for n, t in expected_weights.items()])
    # What hardly has a gradient, as a bias that a softmax does not see, wanders with the last digits.
    assert apart.max() < 5e-3
    assert apart.mean() < 1e-6
    assert (apart > 1e-5).float().mean() < 0.01


def test_processes_stop_after_the_same_step(alone: Config, tmp_path: Path) -> None:
    """One is asked to stop in step 2; the other is told with step 3, and both end with what was asked for."""
    config = in_two(tmp_path, alone)
    code, said = start(tmp_path, config, rank=1, step=2, how="term")
    assert code == 1
    assert said.count("training stopped at step 3, which is written to") == 1
    assert "ended without a word" not in said
    state = config.run_dir / "student" / "state-00000003.safetensors"
    assert load_facts(state)["obeyed"]["train"]["processes"] == 2
