"""The predictions of the report: beside their annotation, with the nearest rationales and their verdicts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cache.errors import UserError
from cache.paths import StorePaths
from cache.rationales import read_rationales
from pipeline.config import Config
from pipeline.report.report import write_report
from pipeline.workspace import Workspace
from tests.pipeline.hostile_store import report_of, write_hostile_store
from tests.pipeline.written_predictions import write_predictions

Make = Callable[..., Config]


def block_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="predictions">(.*?)</script>', text, re.DOTALL)
    assert found
    block = json.loads(found[1])
    assert isinstance(block, dict)
    return block


def page_of(config: Config) -> tuple[str, dict[str, Any]]:
    text = report_of(config).read_text(encoding="utf-8")
    return text, block_of(text)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, small_config: Make) -> Config:
    config = small_config(tmp_path_factory.mktemp("report-predictions") / "run")
    write_hostile_store(config)
    write_predictions(config)
    return config


def test_each_prediction_stands_beside_its_annotation(config: Config) -> None:
    right, wrong, other = write_predictions(config)
    result = write_report(Workspace(config))
    _, block = page_of(config)
    data = Workspace(config).data
    assert result.data["predictions"] == len(block["said"]) == len(data.split("test"))
    said = {one["image"]: one for one in block["said"]}
    one = said[wrong.image]
    assert (one["verb"], one["rank"], one["subset"]) == (wrong.verb, 1, "unseen")
    assert one["top"] == [[other.verb, 0.5], [wrong.verb, 0.25]]
    role = one["roles"][0]
    assert (role["role"], role["noun"], role["right"], role["grounded"]) == (wrong.roles[0], "", False, False)
    assert role["nouns"] == [data.vocabulary.gloss(noun) if noun else "" for noun in wrong.nouns[0]]
    assert said[right.image]["rank"] == 0
    assert said[right.image]["roles"][0]["noun"] == data.vocabulary.gloss(right.nouns[0][0])
    assert [role["annotated"] for role in one["roles"]] == [box and list(box) for box in wrong.boxes]


def test_a_wrong_prediction_leads_to_rationales_of_the_verb_it_named_and_to_their_verdicts(
    config: Config,
) -> None:
    _, wrong, other = write_predictions(config)
    write_report(Workspace(config))
    _, block = page_of(config)
    near = next(one["near"] for one in block["said"] if one["image"] == wrong.image)
    similarities = [similarity for _, similarity in near]
    assert len(near) == 4
    assert similarities == sorted(similarities, reverse=True)
    rows = {
        (row["image"], row["aspect"], row["polarity"]): row
        for row in read_rationales(StorePaths(config.store)).filter("usable").iter_rows(named=True)
    }
    for place, _ in near:
        rationale = block["rationales"][place]
        row = rows[rationale["image"], rationale["aspect"], rationale["polarity"]]
        assert rationale["text"] == row["text"]
        assert (rationale["status"], rationale["score"]) == ("accepted", row["score"])
        assert rationale["judge"] == row["judge"]
        assert rationale["attempt"] == row["attempt"] + 1
    told = [set(re.split(r"\W+", block["rationales"][place]["text"])) for place, _ in near]
    named, annotated = set(other.verb.split("-")), set(wrong.verb.split("-"))
    assert not named & annotated
    assert all(words & named for words in told), "each speaks of the verb that was named"
    assert not told[0] & annotated, "and the nearest not of the annotated one"


def test_a_picture_that_is_in_the_gallery_too_is_drawn_once(config: Config) -> None:
    write_predictions(config)
    write_report(Workspace(config))
    text, block = page_of(config)
    gallery = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert gallery
    images = [picture["image"] for picture in json.loads(gallery[1])["pictures"]]
    for one in block["said"]:
        assert images[one["thumbnail"]] == one["image"]
    few = write_report(Workspace(config), limit=5, predictions=3)
    text, block = page_of(config)
    urls = [u for b in re.findall(r'id="thumbnails-\d+">(.*?)</script>', text) for u in json.loads(b)]
    assert (few.data["pictures"], few.data["predictions"], len(urls)) == (5, 3, 8)
    assert {one["thumbnail"] for one in block["said"]} == {5, 6, 7}
    assert f"3 of {len(Workspace(config).data.split('test'))} predictions" in few.text


def test_figures_with_their_intervals_and_the_worst_verbs_stand_above(config: Config) -> None:
    _, wrong, other = write_predictions(config)
    setting = dict.fromkeys(("verb", "value", "value_all", "grnd", "grnd_all"), 12.5)
    ends = {name: [10.0, 20.0] for name in setting}
    figures = dict.fromkeys(("top1", "top5", "gt"), setting)
    metrics = {
        "split": "test",
        "subsets": {"all": {"samples": 9, "verbs": 3, **figures}},
        "harmonic_mean": figures,
        "intervals": {
            "level": 0.9, "draws": 7, "seed": 0, "harmonic_mean": {},
            "subsets": {"all": dict.fromkeys(figures, ends)},
        },
    }  # fmt: skip
    (config.run_dir / "metrics.json").write_text(json.dumps(metrics))
    write_report(Workspace(config))
    (config.run_dir / "metrics.json").unlink()
    text, _ = page_of(config)
    assert text.count("<td>12.50 <small>±5.0</small></td>") == 15
    assert "± half of the 90 % interval" in text
    assert f">{wrong.verb}</a><small>unseen, " in text
    assert f"<td>{other.verb} 1</td>" in text
    assert f"view=predictions&amp;result=wrong&amp;verb={wrong.verb}" in text


def test_what_is_missing_is_said_and_the_rest_is_shown(config: Config, tmp_path: Path) -> None:
    shutil.copytree(config.run_dir, tmp_path / "run")
    other = config.model_copy(update={"run_dir": tmp_path / "run"})
    for part in (tmp_path / "run" / "store" / "index").glob("rationales-*.faiss"):
        part.unlink()
    result = write_report(Workspace(other), limit=1, thumbnail=32)
    assert "is listed but missing; run `mipd-pipe embed-teacher`" in result.text
    _, block = page_of(other)
    assert block["said"]
    assert all(one["near"] == [] for one in block["said"])
    assert block["notes"][0].startswith("nearest rationales are left out: ")

    frame = pl.read_parquet(tmp_path / "run" / "predictions.parquet")
    unknown = frame.with_columns(image=pl.lit("gone.jpg")).head(1)
    pl.concat([frame, unknown]).write_parquet(tmp_path / "run" / "predictions.parquet")
    result = write_report(Workspace(other), limit=1, thumbnail=32)
    assert "note: 1 predictions are not of the data set as it is now and are left out" in result.text
    assert result.data["predictions"] == frame.height

    for contents in (b"not parquet", None):
        path = tmp_path / "run" / "predictions.parquet"
        path.unlink() if contents is None else path.write_bytes(contents)
        result = write_report(Workspace(other), limit=1, thumbnail=32)
        assert result.data["predictions"] == 0
        why = "is damaged or of another version" if contents else "there are no predictions yet"
        assert why in result.text


def test_predictions_of_an_older_form_are_not_guessed_at(config: Config, tmp_path: Path) -> None:
    shutil.copytree(config.run_dir, tmp_path / "run")
    path = tmp_path / "run" / "predictions.parquet"
    pl.read_parquet(path).drop("rank").write_parquet(path)
    result = write_report(
        Workspace(config.model_copy(update={"run_dir": tmp_path / "run"})), limit=1, thumbnail=32
    )
    assert "is damaged or of another version; write them again with `mipd-pipe evaluate`" in result.text


def test_a_number_of_predictions_below_0_is_refused(config: Config) -> None:
    with pytest.raises(UserError, match=r"--predictions -1 is below 0; give a number of them, or 0 for all"):
        write_report(Workspace(config), predictions=-1)
