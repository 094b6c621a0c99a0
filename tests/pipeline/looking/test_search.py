"""Rationales are found by a text or a prediction, pictures by a picture; filters keep to what they name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cache.errors import UserError
from cache.manifest import editing, load_manifest
from cache.paths import StorePaths
from cache.rationales import read_rationales
from cache.vectors import PICTURES, RATIONALES, matrix, read_vectors
from pipeline import stage_one
from pipeline.config import Config
from pipeline.looking.inspect import summary
from pipeline.looking.nearest import REPLACED, encode_like_rationales, nearest_rationales
from pipeline.looking.search import search
from pipeline.workspace import Workspace
from stages.teacher.encoders.sources import open_text

Make = Callable[..., Config]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, small_config: Make) -> Config:
    """A run with rationales, banks and indexes; tests must not change it."""
    config = small_config(tmp_path_factory.mktemp("embedded") / "run")
    stage_one.generate_rationales(Workspace(config))
    stage_one.embed_teacher(Workspace(config))
    return config


@pytest.fixture
def workspace(embedded: Config) -> Workspace:
    return Workspace(embedded)


def exact(store: StorePaths, family: str, query: np.ndarray) -> pl.DataFrame:
    """Every vector's key and cosine to the query, nearest first."""
    frame = read_vectors(store, family)
    vectors = matrix(frame["vector"])
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    return frame.with_columns(cosine=pl.Series(cosines)).sort("cosine", descending=True)


@pytest.mark.parametrize(
    "filters", [{}, {"polarity": "negative"}, {"aspect": "gaze", "polarity": "positive"}], ids=str
)
def test_the_nearest_rationales_of_a_text_meet_the_filters(
    workspace: Workspace, filters: dict[str, str]
) -> None:
    text = "a dog is jumping over a barrel"
    result = search(workspace, text, None, filters, 7)
    query = encode_like_rationales(workspace.store, open_text(workspace.config.embed.text), [text])[0]
    wanted = exact(workspace.store, RATIONALES, query)
    for name, value in filters.items():
        wanted = wanted.filter(pl.col(name) == value)
    found = [hit["similarity"] for hit in result.data]
    assert found == pytest.approx(wanted["cosine"][:7].to_list(), abs=1e-5)
    assert all(hit[name] == value for hit in result.data for name, value in filters.items())
    assert result.text.count("\n") == 8


def test_a_verb_is_found_however_far_its_rationales_are(workspace: Workspace) -> None:
    rows = read_rationales(workspace.store).filter("usable")
    verb = rows["verb"][0]
    hits = search(workspace, "a boat on the sea", None, {"verb": verb}, 1000).data
    assert len(hits) == rows.filter(pl.col("verb") == verb).height
    assert {hit["verb"] for hit in hits} == {verb}


def test_a_stored_picture_finds_others_and_a_file_of_it_finds_itself(workspace: Workspace) -> None:
    sample = workspace.data.split("test")[0]
    path = workspace.data.picture(sample.image)
    near = search(workspace, None, sample.image, {}, 5).data
    (itself, *others) = search(workspace, None, str(path), {}, 6).data
    assert itself["image"] == sample.image
    assert itself["similarity"] == pytest.approx(1, abs=1e-4)
    assert [hit["image"] for hit in near] == [hit["image"] for hit in others]
    frame = read_vectors(workspace.store, PICTURES)
    own = matrix(frame.filter(pl.col("image") == sample.image)["vector"])[0]
    wanted = exact(workspace.store, PICTURES, own)["cosine"][1:6].to_list()
    assert [hit["similarity"] for hit in near] == pytest.approx(wanted, abs=1e-5)


def test_a_picture_is_shown_with_its_verb_and_nouns(workspace: Workspace) -> None:
    sample = workspace.data.split("train")[0]
    other = workspace.data.split("train")[1]
    result = search(workspace, None, other.image, {"verb": sample.verb}, 100)
    of_verb = {s.image for s in workspace.data.samples if s.verb == sample.verb} - {other.image}
    assert {hit["image"] for hit in result.data} == of_verb
    gloss = workspace.data.vocabulary.gloss
    (hit,) = (hit for hit in result.data if hit["image"] == sample.image)
    assert hit["nouns"] == {
        role: list(dict.fromkeys(gloss(noun) for noun in three if noun))
        for role, three in zip(sample.roles, sample.nouns, strict=True)
    }
    assert sample.verb in result.text


@pytest.mark.parametrize(
    ("text", "image", "filters", "message"),
    [
        (None, None, {}, r"^give either a text or --image: "),
        ("a horse", "a.jpg", {}, r"^give either a text or --image: "),
        ("  ", None, {}, "^the search text is empty"),
        (
            None,
            "no.jpg",
            {},
            r"^--image no\.jpg is neither a picture of the store nor a file; `mipd-pipe insp",
        ),
        (None, "a.jpg", {"aspect": "gaze"}, "^--aspect does not go with --image: pictures have no aspect; "),
        (None, "a.jpg", {"verb": "flying"}, "^--verb 'flying': no picture of the data set shows it; "),
        ("a horse", None, {"verb": "flying"}, "^--verb 'flying': the store has no rationale of that verb"),
        ("a horse", None, {"aspect": "glance"}, "^--aspect 'glance' is not one of glimpse, gaze$"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(
    workspace: Workspace, text: str | None, image: str | None, filters: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        search(workspace, text, image, filters, 3)


def test_a_file_is_not_compared_by_another_encoder(embedded: Config, small_config: Make) -> None:
    other = Workspace(small_config(embedded.run_dir, "embed.student_vision.variant=teacher"))
    path = other.data.picture(other.data.samples[0].image)
    with pytest.raises(UserError, match=r"embedded by another encoder than `embed.student_vision` names"):
        search(other, None, str(path), {}, 3)


def test_a_predictions_nearest_rationales_come_with_their_verdicts(workspace: Workspace) -> None:
    texts = ["a dog is jumping over a fence", "a boat"]
    vectors = encode_like_rationales(workspace.store, open_text(workspace.config.embed.text), texts)
    first, second = nearest_rationales(workspace.store, vectors, 4, {"polarity": "positive"})
    assert len(first) == len(second) == 4
    rows = read_rationales(workspace.store).filter("usable")
    for hit in first:
        row = rows.filter(image=hit.image, aspect=hit.aspect, polarity=hit.polarity).row(0, named=True)
        for name in ("verb", "text", "status", "judge", "score", "reason"):
            assert getattr(hit, name) == row[name]
        assert hit.status == "accepted"
        assert hit.text != REPLACED


def test_the_summary_tells_how_well_each_index_finds(workspace: Workspace) -> None:
    result = summary(workspace)
    pictures, rationales = result.data["indexes"]
    assert (pictures["index"], pictures["kind"], pictures["recall@10"]) == ("pictures", "flat", 1.0)
    assert rationales["vectors"] == read_rationales(workspace.store)["usable"].sum()
    assert "index       kind  vectors  width" in result.text


def test_other_index_settings_rebuild_the_indexes_and_nothing_else(
    embedded: Config, tmp_path: Path, small_config: Make
) -> None:
    run = Path(shutil.copytree(embedded.run_dir, tmp_path / "run"))
    store = StorePaths(run / "store")
    before = {part.path for part in load_manifest(store).parts if part.kind != "index"}
    stage_one.embed_teacher(Workspace(small_config(run, "embed.index.kind=hnsw")))
    manifest = load_manifest(store)
    assert {part.path for part in manifest.parts if part.kind != "index"} == before
    assert [part.producer["index"]["plan"]["kind"] for part in manifest.of_kind("index")] == ["hnsw", "hnsw"]


def test_an_index_of_an_earlier_version_is_searched_left_out_of_the_summary_and_replaced(
    embedded: Config, tmp_path: Path, small_config: Make
) -> None:
    """It says nothing of how it was built."""
    run = Path(shutil.copytree(embedded.run_dir, tmp_path / "run"))
    workspace = Workspace(small_config(run))
    with editing(workspace.store) as cell:
        cell[0] = replace(
            cell[0],
            parts=tuple(
                replace(part, producer={k: v for k, v in part.producer.items() if k != "index"})
                for part in cell[0].parts
            ),
        )
    assert len(search(workspace, "a horse", None, {}, 3).data) == 3
    assert summary(workspace).data["indexes"] == []
    stage_one.embed_teacher(Workspace(small_config(run)))
    assert len(summary(workspace).data["indexes"]) == 2


def test_codes_of_whole_vectors_are_refused_by_the_settings(tmp_path: Path, small_config: Make) -> None:
    message = r"quantise is 64 but kind is 'flat', which keeps whole vectors; set kind to 'ivf' or 'auto'"
    with pytest.raises(UserError, match=message):
        small_config(tmp_path, "embed.index.kind=flat", "embed.index.quantise=64")


def test_an_index_that_will_not_fit_is_refused_before_anything_is_encoded(
    embedded: Config, tmp_path: Path, small_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cache.errors import MachineError

    run = Path(shutil.copytree(embedded.run_dir, tmp_path / "run"))
    monkeypatch.setattr("stages.teacher.embed.read_memory", lambda: (1 << 30, 1 << 20))
    stage_one.embed_teacher(Workspace(small_config(run)))  # the indexes are there
    changed = Workspace(small_config(run, "embed.index.kind=hnsw", "embed.text.pooled_dim=64"))
    before = load_manifest(changed.store).of_kind("bank")
    with pytest.raises(MachineError, match=r"^building the index of pictures \(hnsw, 200 x 32\) needs about"):
        stage_one.embed_teacher(changed)
    assert load_manifest(changed.store).of_kind("bank") == before
