"""Rationales from a file with one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from cache.paths import StorePaths
from cache.rationales import read_quarantine, read_rationales
from pipeline.config import Config
from pipeline.stage_one import generate_rationales
from pipeline.workspace import Workspace
from stages.teacher.jsonl_texts import read_jsonl

GOOD = {
    "image": "a.jpg",
    "positive_glimpse": "one",
    "negative_glimpse": "two",
    "positive_gaze": "three",
    "negative_gaze": "four",
}


def write(folder: Path, *lines: object) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), encoding="utf-8")
    return path


def test_each_line_is_a_picture(tmp_path: Path) -> None:
    path = write(
        tmp_path, GOOD, "", {"image": "b.jpg", "negative_gaze": "x", "score": 4, "positive_gaze": None}
    )
    assert read_jsonl(path) == {"a.jpg": ("one", "two", "three", "four"), "b.jpg": ("", "", "", "x")}


@given(st.dictionaries(st.text(min_size=1), st.tuples(*[st.text(min_size=1)] * 4), min_size=1))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, tuple[str, ...]]
) -> None:
    names = [name for name in GOOD if name != "image"]
    lines = [{"image": image, **dict(zip(names, four, strict=True))} for image, four in texts.items()]
    assert read_jsonl(write(tmp_path_factory.mktemp("jsonl"), *lines)) == texts


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ("[1]", "line 2 must be an object with the file name of a picture under `image`"),
        ({"positive_gaze": "x"}, "line 2 must be an object with the file name of a picture under `image`"),
        ({"image": "b.jpg", "positive_gaze": 3}, "line 2: positive_gaze is int, not text"),
        ({"image": "b.jpg"}, "line 2 has none of positive_glimpse, negative_glimpse"),
        (GOOD, "line 2: image 'a.jpg' was there before; keep one line of the two"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(tmp_path: Path, line: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_jsonl(write(tmp_path, GOOD, line))
    assert message in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a UTF-8 file with one JSON object a line"):
        read_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"image": "\xe9.jpg"}')
    with pytest.raises(UserError, match="cannot be read"):
        read_jsonl(tmp_path / "latin.jsonl")


@pytest.fixture
def workspace(tmp_path: Path, small_config: Callable[..., Config]) -> Callable[[Path], Workspace]:
    def make(path: Path) -> Workspace:
        jsonl = ("teacher.engine=jsonl", f"teacher.jsonl={path}", "max_failure_rate=1.0")
        return Workspace(small_config(tmp_path / "run", *jsonl))

    return make


def test_the_texts_are_imported_once_and_judged(
    tmp_path: Path, workspace: Callable[[Path], Workspace], drawn_data: Path
) -> None:
    first, second = sorted(json.loads((drawn_data / "SWiG_jsons" / "train.json").read_text()))[:2]
    line = {"image": first, "positive_gaze": "Something large fills the middle.", "negative_gaze": "Short."}
    path = write(tmp_path, line, {"image": "elsewhere.jpg", "positive_gaze": "Nobody knows this picture."})
    generate_rationales(workspace(path))
    store = StorePaths(tmp_path / "run" / "store")
    rows = read_rationales(store)
    assert set(rows["image"]) == {first}
    assert rows.filter("usable")["text"].to_list() == ["Something large fills the middle."]
    assert set(rows["teacher"]) == {"jsonl"}
    assert set(rows["contrast_verb"]) == {""}
    (reason,) = read_quarantine(store).filter(pl.col("image") == second)["reason"]
    assert reason == "the engine gave no answer: the file named by teacher.jsonl has no line for the picture"
    path.write_text(json.dumps({**line, "negative_gaze": "Something quite small fills the middle."}))
    generate_rationales(workspace(path))
    assert read_rationales(store).filter("usable").height == 2, "a changed line is imported again"


def test_a_file_about_other_pictures_is_refused(
    tmp_path: Path, workspace: Callable[[Path], Workspace]
) -> None:
    path = write(tmp_path, {"image": "elsewhere.jpg", "positive_gaze": "Nobody knows this picture."})
    with pytest.raises(UserError, match=r"the first of 1 is 'elsewhere\.jpg'"):
        generate_rationales(workspace(path))
