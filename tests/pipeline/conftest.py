"""A trained student, for whoever asks one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline import stage_one, stage_two
from pipeline.config import Config
from pipeline.workspace import Workspace


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]) -> Config:
    """An evaluated run; tests must not change it but for files of their own beside what is there."""
    config = small_config(tmp_path_factory.mktemp("trained") / "run", "train.epochs=1")
    workspace = Workspace(config)
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    stage_two.train_student(workspace)
    stage_two.evaluate(workspace)
    return config
