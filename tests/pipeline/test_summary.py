"""The shortcut probe and the fidelity of banks in `inspect summary`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.codec import StorageType
from cache.kinds import KINDS, Kind
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.rationales import append_rationales
from pipeline.config import Config
from pipeline.looking import inspect
from pipeline.result import Result
from pipeline.workspace import Workspace
from tests.cache.small_store import PRODUCER, bank_header, empty_store, noise, row, write_shard

Make = Callable[..., Config]
VERBS = ("jumping", "diving", "running", "falling", "riding")


def alike(number: int, kind: Kind) -> str:
    """Every verb is as likely on one side as on the other."""
    verbs = random.Random(number).sample(VERBS, 2)
    return f"A man is {verbs[kind.polarity == 'negative']} outdoors."


@pytest.fixture
def summary(tmp_path: Path, small_config: Make) -> Callable[..., Result]:
    config = small_config(tmp_path / "run")

    def make(pictures: int, texts: Mapping[Kind, Callable[[int], str]], **changes: Any) -> Result:
        rows = [
            row(f"{n}.jpg", kind, text=texts[kind](n) if kind in texts else alike(n, kind), **changes)
            for n in range(pictures)
            for kind in KINDS
        ]
        append_rationales(StorePaths(config.store), rows, PRODUCER)
        return inspect.summary(Workspace(config))

    return make


def test_texts_that_words_cannot_tell_apart_bring_no_warning(summary: Callable[..., Result]) -> None:
    result = summary(200, {})
    glimpse, gaze = result.data["shortcut"]["glimpse"], result.data["shortcut"]["gaze"]
    assert glimpse == pytest.approx(0.5, abs=0.1)
    line = (
        "shortcut probe: words alone tell positive from negative with AUC "
        f"{glimpse:.2f} (glimpse), {gaze:.2f} (gaze); 0.5 = not at all"
    )
    assert line in result.text.split("\n")
    assert "warning" not in result.text


def test_a_style_of_negatives_brings_a_warning_for_its_aspect(summary: Callable[..., Result]) -> None:
    negative = Kind("gaze", "negative")
    result = summary(100, {negative: lambda n: f"{alike(n, negative)} At least so it seems."})
    assert result.data["shortcut"]["gaze"] > 0.95
    assert "(gaze); 0.5 = not at all\nwarning: gaze above 0.8: negatives that their words give" in result.text


def test_rejected_texts_do_not_count(summary: Callable[..., Result]) -> None:
    result = summary(100, {}, status="rejected", reason="the text is empty")
    assert result.data["shortcut"] == {"glimpse": None, "gaze": None}
    assert "shortcut probe: too few usable texts of both sides to tell" in result.text


def test_an_aspect_with_too_few_texts_is_unknown(tmp_path: Path, small_config: Make) -> None:
    config = small_config(tmp_path / "run")
    kinds = [kind for kind in KINDS if kind != Kind("gaze", "negative")]
    rows = [row(f"{n}.jpg", kind, text=alike(n, kind)) for n in range(30) for kind in kinds]
    append_rationales(StorePaths(config.store), rows, PRODUCER)
    assert "(glimpse), unknown (gaze)" in inspect.summary(Workspace(config)).text


def test_every_bank_tells_how_near_it_comes_to_fp32(tmp_path: Path, small_config: Make) -> None:
    """Mean and worst cosine over the sampled tokens of all its shards, as the manifest records them."""
    config = small_config(tmp_path / "run")
    store = empty_store(config.store)
    kinds: dict[str, StorageType] = {"teacher-vision": "int8", "student-vision": "fp32"}
    for name, storage in kinds.items():
        for shard in range(2):
            rows = {f"{shard}-{i}.jpg": noise(3, 8, seed=(shard, i)) for i in range(4)}
            write_shard(store, bank_header(name, storage), rows)
    result = inspect.summary(Workspace(config))
    told = {bank["bank"]: (bank["mean_cosine"], bank["worst_cosine"]) for bank in result.data["banks"]}
    measured = [part.measured["fidelity"] for part in load_manifest(store).of("bank", "teacher-vision")]
    worst = min(one["worst_cosine"] for one in measured)
    assert told["teacher-vision"][0] == pytest.approx(sum(one["mean_cosine"] for one in measured) / 2)
    assert 0.999 < told["teacher-vision"][1] == worst < told["teacher-vision"][0] < 1
    assert told["student-vision"] == (1.0, 1.0)
    lines = {line.split()[0]: line.split()[-2:] for line in result.text.splitlines() if "-vision " in line}
    assert lines["student-vision"] == ["1.00000", "1.00000"]
    assert lines["teacher-vision"][1] == f"{math.floor(worst * 1e5) / 1e5:.5f}", "rounded down"


def test_a_bank_whose_shards_tell_no_fidelity_says_so(tmp_path: Path, small_config: Make) -> None:
    config = small_config(tmp_path / "run")
    zeros = {"a.jpg": np.zeros((3, 8), np.float32)}
    write_shard(empty_store(config.store), bank_header(), zeros)
    result = inspect.summary(Workspace(config))
    assert result.data["banks"][0]["mean_cosine"] is None
    assert "unknown" in result.text
