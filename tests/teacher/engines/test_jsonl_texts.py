"""Rationales from a file with one JSON object a line."""

from __future__ import annotations

import json
import re
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
from stages.teacher.engines.jsonl_texts import TOLD, read_jsonl

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


def texts(path: Path) -> dict[str, tuple[str, ...]]:
    return {image: line.texts for image, line in read_jsonl(path).items()}


def test_each_line_is_a_picture(tmp_path: Path) -> None:
    path = write(
        tmp_path, GOOD, "", {"image": "b.jpg", "negative_gaze": "x", "score": 4, "positive_gaze": None}
    )
    assert texts(path) == {"a.jpg": ("one", "two", "three", "four"), "b.jpg": ("", "", "", "x")}
    assert {image: line.number for image, line in read_jsonl(path).items()} == {"a.jpg": 1, "b.jpg": 3}


@given(
    st.dictionaries(
        st.text(min_size=1).filter(str.strip),
        st.tuples(*[st.text(min_size=1).filter(str.strip)] * 4),
        min_size=1,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_what_was_written_is_read_whatever_the_editor(
    tmp_path_factory: pytest.TempPathFactory,
    written: dict[str, tuple[str, ...]],
    line_end: str,
    mark: bool,
    escaped: bool,
) -> None:
    names = [name for name in GOOD if name != "image"]
    lines = [{"image": image, **dict(zip(names, four, strict=True))} for image, four in written.items()]
    path = tmp_path_factory.mktemp("jsonl") / "texts.jsonl"
    text = line_end.join(json.dumps(line, ensure_ascii=escaped) for line in lines) + line_end
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.encode())
    assert texts(path) == written


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "'{' is not JSON (Expecting property name enclosed...; write one JSON object a"),
        ("[" * 100_000, "[[...is not JSON"),
        ("[1]", "'[1]' is not an object; write one JSON object a line"),
        ({"positive_gaze": "x"}, "there is no image; give the file name of a picture under `image`, as text"),
        ({"image": 3}, "image is 3; give the file name of a picture under `image`, as text"),
        ({"image": " ", "positive_gaze": "x"}, "image is ' '; give the file name"),
        ({"image": "b.jpg", "positive_gaze": 3},
         "positive_gaze is 3, not text; put it in quotes, or leave it out for no text"),
        ({"image": "b.jpg"},
         "no text under positive_glimpse, negative_glimpse, positive_gaze, negative_gaze; give at least one"),
        ({"image": "b.jpg", "positive_gaze": " \t", "negative_gaze": ""}, "no text under positive_glimpse"),
        ({"image": "b.jpg", "positive_gase": "x"},
         "'positive_gase' is no kind of rationale; the nearest known is 'positive_gaze'; the kinds are"),
        (GOOD, "image 'a.jpg' stands in line 1 already; keep one line of the two"),
        ('{"image": "b.jpg", "image": "c.jpg", "positive_gaze": "x"}',
         "image stands 2 times ('b.jpg' and 'c.jpg'); keep one of them"),
        ('{"image": "b.jpg", "positive_gaze": "x", "positive_gaze": "y"}',
         "positive_gaze stands 2 times ('x' and 'y'); keep one of them"),
        ('{"image": "b.jpg", "positive_gaze": "\\ud800"}', "positive_gaze has half of a surrogate pair"),
        ('{"image": "b.jpg", "positive_gaze": "\x1b[31m', "is not JSON"),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_by_file_and_number(tmp_path: Path, line: object, message: str) -> None:
    path = write(tmp_path, GOOD, line)
    with pytest.raises(UserError) as caught:
        read_jsonl(path)
    first, bad, last = str(caught.value).splitlines()
    assert first == f"teacher.jsonl {path}: 1 line cannot be used, beside 1 that can; nothing was imported"
    assert bad.startswith(f"  {path}:2: ")
    assert all(part in bad for part in message.split("..."))
    assert len(bad) < 400
    assert bad.isprintable()
    assert last == "mend or remove these lines, then run the same command again"


def test_letters_that_are_not_utf8_are_named_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"image": "\xe9.jpg", "positive_gaze": "x"}\n')
    with pytest.raises(
        UserError, match=re.escape(f"{path}:2: byte 12 of the line (e9) is not UTF-8; save the")
    ):
        read_jsonl(path)


def test_two_bytes_a_letter_are_one_mistake(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_bytes("\n".join([json.dumps(GOOD)] * 3).encode("utf-16"))
    with pytest.raises(
        UserError, match=r"begins with the mark of UTF-16; only UTF-8 is read: `iconv -f UTF-16"
    ):
        read_jsonl(path)


def test_all_bad_lines_are_told_at_once_up_to_a_number(tmp_path: Path) -> None:
    path = write(tmp_path, *["{"] * 5, GOOD, *["{"] * (TOLD - 2))
    with pytest.raises(UserError) as caught:
        read_jsonl(path)
    first, *named, more, _ = str(caught.value).splitlines()
    assert f"{TOLD + 3} lines cannot be used, beside 1 that can" in first
    bad = [number for number in range(1, TOLD + 2) if number != 6]
    assert [line.split(": ")[0] for line in named] == [f"  {path}:{number}" for number in bad]
    assert more == "  ... and 3 more lines"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"No such file or directory\); give a UTF-8 file with one JSON object a"
    ):
        read_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="Is a directory"):
        read_jsonl(tmp_path)


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


def test_lines_about_other_pictures_are_named_and_the_rest_imported(
    tmp_path: Path,
    workspace: Callable[[Path], Workspace],
    drawn_data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, tested = (
        min(json.loads((drawn_data / "SWiG_jsons" / f"{split}.json").read_text()))
        for split in ("train", "test")
    )
    text = {"positive_gaze": "Something large fills the middle."}
    path = write(tmp_path, *({"image": image, **text} for image in ("x.jpg", tested, first, "y\x1b.jpg")))
    generate_rationales(workspace(path))
    told = capsys.readouterr().err
    assert f"note: 1 line of {path} left out: pictures of dev or test get no rationales" in told
    assert (
        f"note: 2 lines of {path} left out, for no training annotation that can be used names the picture: "
        "line 1 'x.jpg', line 4 'y\\x1b.jpg'; `image` must be the file name as in the annotations"
    ) in told
    assert set(read_rationales(StorePaths(tmp_path / "run" / "store"))["image"]) == {first}


def test_a_bad_line_leaves_the_store_as_it_was(
    tmp_path: Path, workspace: Callable[[Path], Workspace]
) -> None:
    path = write(tmp_path, GOOD, "{")
    with pytest.raises(UserError, match="nothing was imported"):
        generate_rationales(workspace(path))
    assert not (tmp_path / "run" / "store" / "manifest.json").exists()
