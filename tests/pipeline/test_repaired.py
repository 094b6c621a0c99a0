"""A store damaged anywhere, repaired, and given the same commands again equals an undisturbed one."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cache.bank_reader import BankReader
from cache.manifest import find_leftovers, load_manifest
from cache.paths import StorePaths
from cache.rationales import VOLATILE, read_quarantine, read_rationales
from cache.repair import repair
from cache.vectors import LABELS, PICTURES, RATIONALES, read_labels, read_vectors
from cache.verify import verify
from pipeline import engines, stage_one
from pipeline.config import Config
from pipeline.workspace import Workspace
from stages.data.scenes import draw_data_set
from stages.teacher.encoders import sources
from tests.pipeline.stopped_run import Countdown, StoppedEngine, StoppedVision

IMAGES = 48
FILES, BYTES, ROUNDS = 10, 3, 12  # damaged at once, flipped in each, and how often
BANKS = ("teacher-vision", "student-vision", "rationale-text")


class Run:
    """One run folder, driven in this process; `asked` and `seen` count calls of the last `go`."""

    def __init__(self, folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.config = config.model_copy(update={"run_dir": folder / "run"})
        self.store = StorePaths(self.config.store)
        self._monkeypatch = monkeypatch
        self.asked: list[str] = []
        self.seen = 0

    def go(self) -> None:
        """Both commands of stage one."""
        asked, seen = self.folder / "asked.txt", self.folder / "seen.txt"
        asked.write_text("")
        seen.write_text("")
        never = Countdown(0, signal.SIGKILL)
        make_engine, open_vision = engines.make_engine, sources.open_vision
        with self._monkeypatch.context() as patch:
            patch.setattr(
                "pipeline.stage_one.make_engine", lambda of: StoppedEngine(make_engine(of), never, asked)
            )
            patch.setattr(
                sources, "open_vision", lambda of, say: StoppedVision(open_vision(of, say), never, seen)
            )
            workspace = Workspace(self.config)
            stage_one.generate_rationales(workspace)
            stage_one.embed_teacher(workspace)
        self.asked = asked.read_text().split()
        self.seen = len(seen.read_text().split())


def contents(paths: StorePaths) -> dict[str, object]:
    """Everything that either stage reads of a store."""
    order = ["image", "attempt", "aspect", "polarity"]
    found: dict[str, object] = {
        "rationales": read_rationales(paths).drop(*VOLATILE).sort(order).to_dicts(),
        "quarantine": read_quarantine(paths).sort("image").to_dicts(),
        "current": load_manifest(paths).current,
        "held out": load_manifest(paths).held_out_verbs,
    }
    for name in BANKS:
        bank = BankReader(paths, name)
        rows = {image: bytes(bank.payload(image)) for image in sorted(bank.images)}
        found[name] = (bank.header, rows, sorted(bank.row_keys.items()))
        bank.close()
    for family in (PICTURES, RATIONALES):
        found[f"vectors of {family}"] = read_vectors(paths, family).sort("id").to_dicts()
    for family in LABELS:
        labels, vectors = read_labels(paths, family)
        found[f"labels of {family}"] = (labels, vectors.tolist())
    return found


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]
) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("whole")
    draw_data_set(folder / "data", images=IMAGES, seed=0)
    settings = (f"data.root={folder / 'data'}", "teacher.pictures_per_part=9", "embed.rows_per_shard=12")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = Run(folder, small_config(folder, *settings), monkeypatch)
        run.go()
        yield run


@pytest.fixture(scope="module")
def expected(undisturbed: Run) -> dict[str, object]:
    return contents(undisturbed.store)


def copied(of: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(folder, of.config, monkeypatch)
    shutil.copytree(of.config.run_dir, run.config.run_dir)
    return run


def files_of(paths: StorePaths) -> list[Path]:
    return sorted(path for path in paths.root.rglob("*") if path.is_file() and path.suffix != ".lock")


def flip(file: Path, places: random.Random, count: int = 1) -> None:
    data = bytearray(file.read_bytes())
    for offset in places.sample(range(len(data)), count):
        data[offset] ^= 1 << places.randrange(8)
    file.write_bytes(data)


def lost_pictures(whole: Run, damaged: set[str]) -> set[str]:
    """What stood in the damaged rationale parts."""
    parts = [name for name in damaged if name.startswith("rationales/")]
    return {
        image
        for name in parts
        for image in pq.read_table(whole.store.root / name, columns=["image"])["image"].to_pylist()
    }


def assert_mended(run: Run, whole: Run, damaged: set[str], expected: dict[str, object]) -> None:
    done = repair(run.store)
    assert {action.file for action in done} >= damaged, "what was damaged was repaired"
    run.go()
    lost = lost_pictures(whole, damaged)
    assert sorted(run.asked) == sorted(lost), "only the lost pictures are asked about again"
    assert verify(run.store) == []
    assert find_leftovers(run.store) == []
    assert contents(run.store) == expected
    assert repair(run.store) == []


def test_a_byte_flipped_in_any_file_costs_what_it_stood_in_and_no_more(
    undisturbed: Run, expected: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = random.Random(1)
    names = [path.relative_to(undisturbed.store.root).as_posix() for path in files_of(undisturbed.store)]
    assert len([name for name in names if name.startswith("rationales/")]) > 2
    for name in names:
        run = copied(undisturbed, tmp_path / "run", monkeypatch)
        flip(run.store.root / name, places)
        assert_mended(run, undisturbed, {name}, expected)
        assert run.seen <= 2 * 12, "no more than one shard is encoded again"


def test_hundreds_of_flipped_bytes_are_mended(
    undisturbed: Run, expected: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = random.Random(2)
    names = [path.relative_to(undisturbed.store.root).as_posix() for path in files_of(undisturbed.store)]
    for _ in range(ROUNDS):
        run = copied(undisturbed, tmp_path / "run", monkeypatch)
        copy = places.choice([undisturbed.store.manifest.name, undisturbed.store.manifest_copy.name])
        damaged = {places.choice([name for name in names if name != copy]) for _ in range(FILES)}
        for name in damaged:
            flip(run.store.root / name, places, BYTES)
        assert_mended(run, undisturbed, damaged, expected)


@pytest.mark.parametrize("harm", ["missing", "truncated", "empty"])
def test_missing_and_truncated_files_are_mended(
    undisturbed: Run,
    expected: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    harm: str,
) -> None:
    run = copied(undisturbed, tmp_path / "run", monkeypatch)
    every_second = [part.path for part in load_manifest(run.store).parts][::2]
    for name in every_second:
        file = run.store.root / name
        if harm == "missing":
            file.unlink()
        else:
            data = file.read_bytes()
            file.write_bytes(data[: len(data) // 2] if harm == "truncated" else b"")
    assert_mended(run, undisturbed, set(every_second), expected)


def test_a_store_of_which_only_the_manifest_is_left_is_filled_again(
    undisturbed: Run, expected: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(undisturbed, tmp_path / "run", monkeypatch)
    parts = {part.path for part in load_manifest(run.store).parts}
    for name in parts:
        (run.store.root / name).unlink()
    assert_mended(run, undisturbed, parts, expected)
    assert set(run.asked) == set(read_rationales(run.store)["image"])
