"""Captions that came with the annotations become rationales, judged like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from cache.paths import StorePaths
from cache.rationales import read_quarantine, read_rationales
from pipeline.config import Config
from pipeline.stage_one import generate_rationales
from pipeline.workspace import Workspace

CAPTIONS = {
    "pos_verb_caption": "A person holds the reins of a horse in the open.",
    "neg_verb_caption": "",
    "pos_attr_caption": "The horse stands at the left, its rider above it.",
    "neg_attr_caption": "A bicycle leans at the left, a dog lies beside it.",
}


def captioned(source: Path, target: Path) -> tuple[str, str]:
    """A copy of a data set in which one training picture has captions; returns it and one without."""
    annotations = target / "SWiG_jsons"
    annotations.mkdir(parents=True)
    (target / "images_512").symlink_to(source / "images_512")
    for path in (source / "SWiG_jsons").iterdir():
        (annotations / path.name).write_bytes(path.read_bytes())
    train = json.loads((annotations / "train.json").read_text())
    first, second = sorted(train)[:2]
    train = {first: train[first] | CAPTIONS, second: train[second]}
    (annotations / "train.json").write_text(json.dumps(train))
    return first, second


def test_captions_are_imported_once_and_judged(
    tmp_path: Path, drawn_data: Path, small_config: Callable[..., Config]
) -> None:
    first, second = captioned(drawn_data, tmp_path / "data")
    config = small_config(
        tmp_path / "run", f"data.root={tmp_path / 'data'}", "teacher.engine=captions", "max_failure_rate=0.5"
    )
    generate_rationales(Workspace(config))
    rows = read_rationales(StorePaths(config.store))
    assert rows.filter("usable")["text"].sort().to_list() == sorted(filter(None, CAPTIONS.values()))
    (rejected,) = rows.filter(pl.col("status") == "rejected").iter_rows(named=True)
    assert (rejected["polarity"], rejected["aspect"], rejected["attempt"]) == ("negative", "glimpse", 0)
    assert rejected["reason"] == "the text is empty"
    assert set(rows["contrast_verb"]) == {""}
    assert set(rows["image"]) == {first}
    (failed,) = read_quarantine(StorePaths(config.store)).iter_rows(named=True)
    assert failed["image"] == second
    assert "the annotation has no captions to import" in failed["reason"]
    generate_rationales(Workspace(config))
    assert read_rationales(StorePaths(config.store)).equals(rows), "a second call has nothing to import"


def test_captions_asked_for_one_by_one_are_the_same(
    tmp_path: Path, drawn_data: Path, small_config: Callable[..., Config]
) -> None:
    captioned(drawn_data, tmp_path / "data")
    given = (f"data.root={tmp_path / 'data'}", "teacher.engine=captions", "max_failure_rate=0.5")
    config = small_config(tmp_path / "run", *given, "teacher.requests=separate")
    generate_rationales(Workspace(config))
    usable = read_rationales(StorePaths(config.store)).filter("usable")
    assert usable["text"].sort().to_list() == sorted(filter(None, CAPTIONS.values()))
