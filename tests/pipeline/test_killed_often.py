"""`generate-rationales` killed at twenty random moments ends where an undisturbed run does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl

from cache.paths import StorePaths
from cache.rationales import VOLATILE, read_rationales
from cache.verify import verify
from pipeline.config import Config, dump_config

SCRIPT = Path(__file__).with_name("stopped_run.py")
ROOT = Path(__file__).parents[2]
KILLS, PART = 20, 5


class Attempt:
    """One run folder; `asked` is what the engine was asked about by the last start."""

    def __init__(self, folder: Path, config: Config) -> None:
        folder.mkdir()
        self._folder, self._file = folder, folder / "config.yaml"
        config = config.model_copy(update={"run_dir": folder / "run"})
        self.store = StorePaths(config.store)
        self._file.write_text(dump_config(config))
        self.asked: list[str] = []

    def start(self, units: str) -> int:
        """The exit code of `generate-rationales`, stopped as `stopped_run.py` describes."""
        notes = self._folder / "asked.txt"
        notes.write_text("")
        command = [str(SCRIPT), units, "SIGKILL", str(notes), "generate-rationales", "-c", str(self._file)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=self._folder, env=environment
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        self.asked = notes.read_text().split()
        return done.returncode

    def events(self) -> int:
        return int((self._folder / "asked.events").read_text())

    def rows(self) -> pl.DataFrame:
        rows = read_rationales(self.store).drop(*VOLATILE)
        return rows.sort("image", "attempt", "aspect", "polarity")


def test_twenty_kills_lose_and_double_nothing(tmp_path: Path, small_config: Callable[..., Config]) -> None:
    config = small_config(tmp_path / "unused", f"teacher.pictures_per_part={PART}")
    undisturbed = Attempt(tmp_path / "undisturbed", config)
    assert undisturbed.start("e0") == 0
    moments, events = random.Random(0), undisturbed.events()
    killed = Attempt(tmp_path / "killed", config)
    times_asked = Counter[str]()
    kills = 0
    while kills < KILLS:
        # Late moments would finish the run within a few kills: most lie in the first part of it.
        moment = moments.randint(1, events // 4)
        finished = set(killed.rows()["image"]) if killed.store.manifest.exists() else set()
        if killed.start(f"e{moment}") == 0:
            break
        kills += 1
        times_asked.update(killed.asked)
        assert finished.isdisjoint(killed.asked), "a finished picture was asked for again"
        if killed.store.manifest.exists():
            assert verify(killed.store) == []
            now = set(killed.rows()["image"])
            assert finished <= now, "a finished picture was lost"
            assert len(set(killed.asked) - now) <= PART + 1, "more than the part under way was lost"
    assert kills == KILLS, "the run ended before it was killed often enough: take earlier moments"
    assert killed.start("0") == 0
    assert killed.rows().equals(undisturbed.rows())
    assert verify(killed.store) == []
