"""`generate-rationales` through a real vLLM engine: the eleven real pictures, and none asked twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cache.kinds import KINDS
from cache.paths import StorePaths
from cache.rationales import read_quarantine, read_rationales
from tests.teacher.examples import SWIG
from tests.vllm.conftest import ENVIRONMENT, SETTINGS

pytestmark = pytest.mark.vllm

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eleven real pictures as one training split; dev, which may not be empty, holds a copy of one."""
    if not SWIG.exists():
        pytest.skip(f"no real pictures at {SWIG}")
    folder = tmp_path_factory.mktemp("swig")
    for path in SWIG.iterdir():
        if path.is_file() and path.name not in ("train.json", "dev.json"):
            (folder / path.name).symlink_to(path)
    shutil.copytree(SWIG / "images", folder / "images")
    shutil.copy(SWIG / "images" / "jumping_10.jpg", folder / "images" / "jumping_copy.jpg")
    entries = json.loads((SWIG / "train.json").read_text()) | json.loads((SWIG / "dev.json").read_text())
    (folder / "train.json").write_text(json.dumps(entries))
    (folder / "dev.json").write_text(json.dumps({"jumping_copy.jpg": entries["jumping_10.jpg"]}))
    return folder


@pytest.fixture(scope="module")
def run(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    settings = {
        "run_dir": folder / "run",
        "data.root": data,
        "max_failure_rate": 1.0,  # the rules reject a random model's words
        "teacher.engine": "vllm",
        "teacher.max_chars": 24,
        "teacher.judge.max_attempts": 2,
        "teacher.vllm.model": model,
        **{f"teacher.vllm.{name}": json.dumps(value) for name, value in SETTINGS.items()},
    }
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
    }

    def start(*command: str, **changed: Any) -> subprocess.CompletedProcess[str]:
        chosen = {**settings, **{key.replace("__", "."): value for key, value in changed.items()}}
        assignments = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
        program = Path(sys.executable).with_name("mipd-pipe")
        return subprocess.run(
            [program, *command, "--config", "swig-cpu", *assignments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
        )

    return start


def store_of(run: Run) -> StorePaths:
    done = run("inspect", "summary", "--json")
    return StorePaths(Path(json.loads(done.stdout)["store"]))


@pytest.fixture(scope="module")
def first(run: Run) -> subprocess.CompletedProcess[str]:
    done = run("generate-rationales")
    assert done.returncode == 0, done.stderr
    return done


def test_every_picture_has_four_rationales(first: subprocess.CompletedProcess[str], run: Run) -> None:
    """The judge may reject a random model's words; rows, verdicts and provenance are there all the same."""
    assert first.stdout == "", "stdout belongs to results"
    rows = read_rationales(store_of(run)).filter("current")
    assert rows["image"].n_unique() == 11
    kinds = (
        rows.filter(pl.col("attempt") == 0).group_by("image").agg(pl.struct("aspect", "polarity").n_unique())
    )
    assert set(kinds["aspect"]) == {len(KINDS)}
    assert read_quarantine(store_of(run)).is_empty()
    assert set(rows["status"]) <= {"accepted", "rejected"}
    assert (rows["tokens_in"] > 0).all()
    assert (rows["tokens_out"] > 0).all()
    assert set(rows["finish_reason"]) == {"stop"}
    assert rows["revision"].str.len_chars().min() > 0  # type: ignore[operator]
    assert set(rows["split"]) == {"train"}


def test_a_second_call_asks_for_nothing(first: subprocess.CompletedProcess[str], run: Run) -> None:
    before = read_rationales(store_of(run))
    done = run("generate-rationales")
    assert done.returncode == 0, done.stderr
    assert "11 training pictures: 11 finished before, 0 to ask" in done.stderr
    assert read_rationales(store_of(run)).equals(before)


def test_other_sampling_asks_for_all_again(first: subprocess.CompletedProcess[str], run: Run) -> None:
    before = read_rationales(store_of(run)).filter("current")
    done = run("generate-rationales", teacher__vllm__temperature=0.1)
    assert done.returncode == 0, done.stderr
    assert "0 finished before, 11 to ask, 11 of them changed since" in done.stderr
    done = run("generate-rationales")
    assert "11 pictures go back to an earlier version in the store, unasked" in done.stderr
    after = read_rationales(store_of(run)).filter("current")
    order = ["image", "aspect", "polarity", "attempt"]
    assert after.sort(order).equals(before.sort(order))


def test_an_answer_that_was_cut_is_asked_for_with_twice_the_tokens(run: Run, tmp_path: Path) -> None:
    """Four texts of 24 characters take more than 60 tokens, and fewer than 120."""
    settings = {"run_dir": tmp_path / "cut", "teacher__judge__max_attempts": 1}
    done = run("generate-rationales", teacher__vllm__max_tokens=60, **settings)
    assert done.returncode == 0, done.stderr
    store = StorePaths(tmp_path / "cut" / "store")
    rows = read_rationales(store)
    assert rows.height == 11 * len(KINDS)
    assert rows["tokens_out"].min() > 60  # type: ignore[operator]
    assert set(rows["finish_reason"]) == {"stop"}
    done = run("generate-rationales", teacher__vllm__max_tokens=30, **settings)
    failed = read_quarantine(store)
    assert failed.height == 11
    assert set(failed["reason"]) == {
        "the answer was cut at the engine's token limit, and again at twice that"
    }
    assert all(raw.startswith('{"positive_glimpse"') for raw in failed["raw"])


def test_another_model_judges_what_the_rules_let_pass(run: Run, model: Path, tmp_path: Path) -> None:
    """The template writes, the random model looks at each picture and judges: four verdicts in one answer."""
    settings = {f"teacher__judge__vllm__{name}": json.dumps(value) for name, value in SETTINGS.items()}
    settings |= {"teacher__judge__vllm__max_tokens": "1800", "teacher__judge__vllm__max_model_len": "4096"}
    done = run(
        "generate-rationales",
        run_dir=tmp_path / "judged",
        teacher__engine="template",
        teacher__max_chars=600,
        teacher__judge__by="vllm",
        teacher__judge__vllm__model=model,
        **settings,
    )
    assert done.returncode == 0, done.stderr
    rows = read_rationales(StorePaths(tmp_path / "judged" / "store"))
    judged = rows.filter(pl.col("judge").str.contains("Idefics3ForConditionalGeneration@"))
    assert judged["image"].n_unique() == 11
    assert set(judged["score"]) <= {1, 2, 3, 4, 5}
    rejected = judged.filter(pl.col("status") == "rejected")
    assert (rejected["reason"] != "").all()
    assert (judged.filter(pl.col("status") == "accepted")["score"] >= 3).all()
    assert rejected.height > 0, "a random model that rejects nothing judges nothing"
