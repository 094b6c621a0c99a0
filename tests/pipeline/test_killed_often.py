"""Stage one killed at random moments ends where an undisturbed run does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import polars as pl

from cache.bank_reader import BankReader
from cache.index import index_ids
from cache.manifest import find_leftovers, load_manifest
from cache.paths import StorePaths
from cache.rationales import VOLATILE, read_rationales
from cache.repair import repair
from cache.vectors import PICTURES, RATIONALES, read_vectors
from cache.verify import verify
from pipeline.config import Config, dump_config

SCRIPT = Path(__file__).with_name("stopped_run.py")
ROOT = Path(__file__).parents[2]
KILLS, PART = 20, 5
EMBED, EMBED_KILLS = "embed-teacher", 3


class Attempt:
    """One run folder; `asked` is what the engine was asked about by the last start."""

    def __init__(self, folder: Path, config: Config) -> None:
        folder.mkdir()
        self._folder, self._file = folder, folder / "config.yaml"
        config = config.model_copy(update={"run_dir": folder / "run"})
        self.store = StorePaths(config.store)
        self._file.write_text(dump_config(config))
        self.asked: list[str] = []

    def start(self, units: str, stage: str = "generate-rationales") -> int:
        """The exit code of a stage, stopped as `stopped_run.py` describes."""
        notes = self._folder / "asked.txt"
        notes.write_text("")
        command = [str(SCRIPT), units, "SIGKILL", str(notes), stage, "-c", str(self._file)]
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


def filled(store: StorePaths) -> dict[str, object]:
    """What `embed-teacher` makes."""
    found: dict[str, object] = {}
    for name in ("teacher-vision", "student-vision", "rationale-text"):
        with closing(BankReader(store, name)) as bank:
            found[name] = {i: (bank.row_keys[i], bytes(bank.payload(i))) for i in sorted(bank.images)}
    for family in (PICTURES, RATIONALES):
        found[family] = read_vectors(store, family).sort("id").to_dicts()
        found[f"index of {family}"] = sorted(index_ids(store, family).tolist())
    return found


def test_embed_teacher_killed_anywhere_and_repaired_goes_on(
    tmp_path: Path, small_config: Callable[..., Config]
) -> None:
    """Nothing listed is ever damaged; what a kill leaves undone is told, and the same command makes it."""
    config = small_config(tmp_path / "unused", "embed.rows_per_shard=12")
    undisturbed = Attempt(tmp_path / "undisturbed", config)
    assert undisturbed.start("0") == 0
    killed = Attempt(tmp_path / "killed", config)
    shutil.copytree(undisturbed.store.root.parent, killed.store.root.parent)
    assert undisturbed.start("e0", EMBED) == 0
    events, moments, rows = undisturbed.events(), random.Random(0), 0
    for kill in range(EMBED_KILLS):
        # The first half of the events loads modules.
        if killed.start(f"e{moments.randint(events // 2, events)}", EMBED) == 0:
            break
        before, rows = rows, sum(part.rows for part in load_manifest(killed.store).of_kind("bank"))
        assert rows >= before, f"kill {kill}: a finished shard was lost"
        assert {fault.file.split("/")[0] for fault in verify(killed.store)} <= {"index"}
        repair(killed.store)
    assert rows, "no kill came after the first shard: take later moments"
    assert killed.start("0", EMBED) == 0
    assert filled(killed.store) == filled(undisturbed.store)
    assert verify(killed.store) == []
    assert find_leftovers(killed.store) == []
