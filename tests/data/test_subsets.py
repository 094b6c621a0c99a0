from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache.errors import UserError
from stages.data.layout import find_layout
from stages.data.settings import DataSettings
from stages.data.subsets import Subsets, draw_subsets, draws_from_files

VERBS = ("jumping", "riding", "sleeping", "cooking")
COUNTS = {"jumping": 4, "riding": 3, "sleeping": 2}  # cooking has no training picture


def _draw(root: Path, **settings: object) -> Subsets:
    values = DataSettings.model_validate({"root": root} | settings)
    return draw_subsets(values, find_layout(values), VERBS, COUNTS, {})


def _list(path: Path, unseen: str) -> Path:
    path.write_text(json.dumps({"unseen": [unseen], "rare": []}))
    return path


def test_without_anything_given_the_frequency_decides(root: Path) -> None:
    subsets = _draw(root, unseen_share=0.25, rare_share=0.25)
    assert subsets.subset_of == {"jumping": "seen", "riding": "seen", "sleeping": "rare", "cooking": "unseen"}
    assert subsets.source == (
        "drawn by training frequency: of 4 verbs the 1 with the fewest training pictures (0 to 0) are "
        "unseen, the next 1 (2 to 2) rare, ties by name"
    )


def test_a_list_beside_the_annotations_comes_before_the_frequency(root: Path) -> None:
    path = _list(root / "SWiG_jsons" / "splits.json", "riding")
    subsets = _draw(root)
    assert subsets.verbs()["unseen"] == {"riding"}
    assert subsets.source == f"the verb list {path}: 1 unseen and 0 rare verbs"
    assert _draw(root, split_by="list").verbs()["unseen"] == {"riding"}


def test_frequency_and_none_ignore_a_list_that_merely_lies_there(root: Path) -> None:
    _list(root / "SWiG_jsons" / "splits.json", "riding")
    assert _draw(root, split_by="frequency", unseen_share=0.25).verbs()["unseen"] == {"cooking"}
    subsets = _draw(root, split_by="none")
    assert set(subsets.subset_of.values()) == {"seen"}
    assert subsets.source == "not split: all 4 verbs count as seen"


def test_a_list_that_is_given_comes_first(root: Path, tmp_path: Path) -> None:
    _list(root / "SWiG_jsons" / "splits.json", "riding")
    _release(root)
    given = _list(tmp_path / "mine.yaml", "sleeping")
    assert _draw(root, unseen_verbs_file=given).verbs()["unseen"] == {"sleeping"}
    settings = DataSettings(root=root, unseen_verbs_file=given)
    assert not draws_from_files(settings, find_layout(settings))


def test_a_list_that_is_asked_for_and_not_there_is_refused(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"data\.split_by is 'list', but data\.unseen_verbs_file is not given"
    ):
        _draw(root, split_by="list")


def _release(root: Path) -> None:
    for name in ("train_L10_refined.json", "dev_L10_unseen_refined.json"):
        (root / "SWiG_jsons" / name).write_text("{}")


def test_released_files_decide_by_themselves_or_when_asked_for(root: Path) -> None:
    _release(root)
    for split_by, expected in (
        ("auto", True),
        ("files", True),
        ("list", False),
        ("frequency", False),
        ("none", False),
    ):
        settings = DataSettings.model_validate({"root": root, "split_by": split_by})
        assert draws_from_files(settings, find_layout(settings)) is expected


def test_released_files_that_are_asked_for_and_not_there_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"lacks Ov-SWiG's split files train_L10_\*.json"):
        _draw(root, split_by="files")
