from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cache.errors import UserError
from stages.data.annotations import SplitContents, read_split
from stages.data.entry import EntryReader
from stages.data.problem import Problem
from stages.data.vocabulary_files import read_vocabulary


def _entries(root: Path, file: str = "dev.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "SWiG_jsons" / file).read_text())
    return found


def _read(root: Path, *files: str) -> SplitContents:
    folder = root / "SWiG_jsons"
    reader = EntryReader(read_vocabulary(folder))
    return read_split([folder / file for file in files], "dev", reader, lambda path: path.name)


def _write(root: Path, file: str, entries: dict[str, Any]) -> None:
    (root / "SWiG_jsons" / file).write_text(json.dumps(entries))


def test_a_bad_entry_is_reported_with_file_image_and_reason_and_the_rest_goes_on(root: Path) -> None:
    entries = _entries(root)
    entries["jumping_dev0.jpg"]["verb"] = "flying"
    entries["../escape.jpg"] = entries["riding_dev0.jpg"]
    entries["sleeping_dev0.jpg"]["bb"]["agent"] = [0, 0, 64, 49]
    _write(root, "dev.json", entries)
    contents = _read(root, "dev.json")
    assert set(contents.samples) == {"riding_dev0.jpg", "sleeping_dev0.jpg", "cooking_dev0.jpg"}
    assert [(p.file, p.image, p.severity) for p in contents.problems] == [
        ("dev.json", "jumping_dev0.jpg", "error"),
        ("dev.json", "sleeping_dev0.jpg", "note"),
        ("dev.json", "../escape.jpg", "error"),
    ]
    assert contents.problems[0].reason.startswith("verb 'flying' is not one of the 4 verbs")
    assert "partly outside" in contents.problems[1].reason
    assert contents.problems[2].reason.startswith("image name '../escape.jpg' has a path in it")


def _twice(root: Path, second: dict[str, Any]) -> None:
    text = json.dumps(_entries(root))
    (root / "SWiG_jsons" / "dev.json").write_text(f'{text[:-1]}, "riding_dev0.jpg": {json.dumps(second)}}}')


def test_a_picture_that_stands_twice_with_different_annotations_is_not_used(root: Path) -> None:
    second = _entries(root)["riding_dev0.jpg"] | {"width": 65}
    _twice(root, second)
    contents = _read(root, "dev.json")
    assert "riding_dev0.jpg" not in contents.samples
    assert len(contents.samples) == 3
    assert contents.problems == [
        Problem(
            "dev.json",
            "riding_dev0.jpg",
            "stands 2 times in the file with different annotations, and which one is right cannot be known; "
            "none is used; keep one of them",
            "error",
        )
    ]


def test_a_picture_that_stands_twice_with_the_same_annotation_is_used_once(root: Path) -> None:
    _twice(root, _entries(root)["riding_dev0.jpg"])
    contents = _read(root, "dev.json")
    assert len(contents.samples) == 4
    assert [(p.reason, p.severity) for p in contents.problems] == [
        ("stands 2 times in the file with the same annotation; used once", "note")
    ]


def test_several_files_are_united_and_captions_taken_from_whichever_has_them(root: Path) -> None:
    entries = _entries(root)
    extra = {"cooking_dev9.jpg": entries["cooking_dev0.jpg"]}
    captioned = {"cooking_dev0.jpg": entries["cooking_dev0.jpg"] | {"pos_verb_caption": "A horse cooks."}}
    _write(root, "dev_L10_unseen.json", captioned | extra)
    contents = _read(root, "dev.json", "dev_L10_unseen.json")
    assert len(contents.samples) == 5
    assert contents.samples["cooking_dev0.jpg"].captions == ("A horse cooks.", "", "", "")
    assert contents.origin["cooking_dev0.jpg"] == "dev.json"
    assert contents.origin["cooking_dev9.jpg"] == "dev_L10_unseen.json"
    assert contents.verbs_of[root / "SWiG_jsons" / "dev_L10_unseen.json"] == {"cooking"}
    assert contents.problems == []


def test_of_two_files_that_disagree_the_first_stands(root: Path) -> None:
    second = {"cooking_dev0.jpg": _entries(root)["cooking_dev0.jpg"] | {"width": 65}}
    _write(root, "dev_L10_unseen.json", second)
    contents = _read(root, "dev.json", "dev_L10_unseen.json")
    assert contents.samples["cooking_dev0.jpg"].width == 64
    assert contents.problems == [
        Problem(
            "dev_L10_unseen.json",
            "cooking_dev0.jpg",
            "annotated differently in dev.json, whose annotation is used",
            "note",
        )
    ]


def test_a_picture_that_is_bad_in_one_file_is_not_taken_from_another(root: Path) -> None:
    second = {"cooking_dev0.jpg": _entries(root)["cooking_dev0.jpg"] | {"width": 0}}
    _write(root, "dev_L10_unseen.json", second)
    contents = _read(root, "dev.json", "dev_L10_unseen.json")
    assert "cooking_dev0.jpg" not in contents.samples
    assert "cooking_dev0.jpg" not in contents.origin


def test_a_file_that_is_broken_as_a_whole_stops(root: Path) -> None:
    (root / "SWiG_jsons" / "dev.json").write_text('[{"verb": "jumping"}]')
    with pytest.raises(UserError, match=r"dev\.json: holds a JSON list; expected an object with one entry"):
        _read(root, "dev.json")
