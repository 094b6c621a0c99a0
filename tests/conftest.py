"""A small drawn data set and a configuration small enough for tests."""

from __future__ import annotations

import os
import signal

# Before numpy and torch: on arrays this small a second thread only waits, and the tests share the cores.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.config import Config, load_config
from stages.data.scenes import draw_data_set

# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run, however busy the machine is.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

SHARED = Path(__file__).parents[2] / "shared"

SMALL = (
    "embed.teacher_vision.size=32",
    "embed.teacher_vision.grid=4",
    "embed.teacher_vision.dim=32",
    "embed.student_vision.size=32",
    "embed.student_vision.grid=4",
    "embed.student_vision.dim=32",
    "embed.text.dim=32",
    "embed.text.pooled_dim=32",
    "embed.text.max_tokens=32",
    "embed.rows_per_shard=40",
    "teacher.pictures_per_part=20",
    "student.dim=32",
    "student.feed_forward=32",
    "student.head_hidden=32",
    "train.epochs=2",
    "train.batch_size=16",
    "train.checkpoint_every_steps=3",
)


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn data set; tests must not change it."""
    folder = tmp_path_factory.mktemp("drawn") / "data"
    draw_data_set(folder, images=200, seed=0)
    return folder


@pytest.fixture(scope="session")
def small_config(drawn_data: Path) -> Callable[..., Config]:
    """Makes a configuration over the drawn data: of a run folder and further ``key=value`` settings."""

    def make(run_dir: Path, *assignments: str) -> Config:
        base = (f"run_dir={run_dir}", f"data.root={drawn_data}", "data.demo_images=0")
        return load_config(Path("demo"), [*base, *SMALL, *assignments])

    return make


@pytest.fixture(scope="session")
def shared_swig() -> Path:
    """Real annotated pictures in SWiG's layout, where they lie beside the project."""
    folder = SHARED / "swig"
    if not folder.exists():
        pytest.skip(f"no real pictures at {folder}")
    return folder
