from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cache.errors import UserError
from stages.data.settings import DataSettings
from stages.data.swig import DataSet, read_data_set

SHARED = Path(__file__).parents[2].parent / "shared" / "swig"


def _read(root: Path, **settings: object) -> DataSet:
    return read_data_set(DataSettings.model_validate({"root": root} | settings))


def _entries(root: Path, file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "SWiG_jsons" / file).read_text())
    return found


def _write(root: Path, file: str, entries: dict[str, Any]) -> None:
    (root / "SWiG_jsons" / file).write_text(json.dumps(entries))


def _verbs(data_set: DataSet, split: Any) -> Counter[str]:
    return Counter(sample.verb for sample in data_set.split(split))


def test_a_whole_data_set_is_read_in_order_without_findings(root: Path) -> None:
    data_set = _read(root)
    assert [len(data_set.split(split)) for split in ("train", "dev", "test")] == [10, 4, 4]
    order = {"train": 0, "dev": 1, "test": 2}
    keys = [(order[sample.split], sample.image) for sample in data_set.samples]
    assert keys == sorted(keys)
    assert data_set.problems == ()
    assert data_set.picture("jumping_dev0.jpg") == root / "images_512" / "jumping_dev0.jpg"
    assert data_set.annotated_sizes()["jumping_dev0.jpg"] == (64, 48)
    assert len(data_set.annotated_sizes()) == 18


@pytest.mark.parametrize("split_by", ["frequency", "list"])
def test_no_training_picture_of_an_unseen_verb_is_left(root: Path, split_by: str, tmp_path: Path) -> None:
    given = tmp_path / "mine.yaml"
    given.write_text("unseen: [riding]")
    choice = {"unseen_share": 0.5} if split_by == "frequency" else {"unseen_verbs_file": given}
    data_set = _read(root, split_by=split_by, rare_share=0.25, **choice)
    unseen = {verb for verb, subset in data_set.subset_of.items() if subset == "unseen"}
    assert unseen == ({"sleeping", "cooking"} if split_by == "frequency" else {"riding"})
    assert unseen.isdisjoint(_verbs(data_set, "train"))
    assert unseen <= _verbs(data_set, "test").keys()
    assert (
        f"3 training pictures of {len(unseen)} unseen verbs are left out of the training set"
        in data_set.notes
    )


def test_the_dev_set_stands_in_for_a_missing_test_set_and_says_so(root: Path) -> None:
    (root / "SWiG_jsons" / "test.json").unlink()
    data_set = _read(root)
    assert [s.image for s in data_set.split("test")] == [s.image for s in data_set.split("dev")]
    assert any(
        note.startswith("no test.json: the dev set stands in for the test set") for note in data_set.notes
    )


@pytest.mark.parametrize("file", ["train.json", "dev.json"])
def test_a_missing_train_or_dev_set_is_refused(root: Path, file: str) -> None:
    (root / "SWiG_jsons" / file).unlink()
    with pytest.raises(UserError, match=f"SWiG_jsons/{file}: missing"):
        _read(root)


@pytest.mark.parametrize(
    ("kept", "robbed", "reason"),
    [
        (
            "test",
            "train",
            "stands in SWiG_jsons/test.json too: a picture that is tested on may not be trained on",
        ),
        (
            "dev",
            "train",
            "stands in SWiG_jsons/dev.json too: a picture that is evaluated on may not be trained on",
        ),
        ("test", "dev", "stands in SWiG_jsons/test.json too: the dev set chooses the checkpoint"),
    ],
)
def test_a_picture_in_two_splits_stays_in_the_one_that_is_used_later(
    root: Path, kept: str, robbed: str, reason: str
) -> None:
    entries = _entries(root, f"{robbed}.json")
    image = f"jumping_{kept}0.jpg"
    _write(root, f"{robbed}.json", entries | {image: _entries(root, f"{kept}.json")[image]})
    data_set = _read(root)
    assert [sample.split for sample in data_set.samples if sample.image == image] == [kept]
    [problem] = data_set.problems
    assert (problem.file, problem.image, problem.severity) == (f"SWiG_jsons/{robbed}.json", image, "error")
    assert problem.reason.startswith(reason)


def _release(root: Path) -> None:
    """Ov-SWiG's files: cooking is unseen, sleeping rare; the plain files keep all verbs."""
    train = {i: e for i, e in _entries(root, "train.json").items() if e["verb"] != "cooking"}
    texts = {
        "pos_verb_caption": "a",
        "neg_verb_caption": "b",
        "pos_attr_caption": "c",
        "neg_attr_caption": "d",
    }
    _write(
        root, "train_L10_with_obj_cap_refined.json", {image: entry | texts for image, entry in train.items()}
    )
    for split in ("dev", "test"):
        for subset, verb in (("L10_unseen", "cooking"), ("L20_rare", "sleeping")):
            entries = {i: e for i, e in _entries(root, f"{split}.json").items() if e["verb"] == verb}
            _write(root, f"{split}_{subset}_with_obj_cap_refined.json", entries)


def test_released_files_name_the_subsets_and_bring_their_captions(root: Path) -> None:
    _release(root)
    data_set = _read(root)
    assert data_set.subset_of == {
        "jumping": "seen", "riding": "seen", "sleeping": "rare", "cooking": "unseen",
    }  # fmt: skip
    assert data_set.split_source == "Ov-SWiG's released files in SWiG_jsons: 1 unseen and 1 rare verbs"
    assert _verbs(data_set, "train") == {"jumping": 4, "riding": 3, "sleeping": 2}
    assert _verbs(data_set, "test") == {"jumping": 1, "riding": 1, "sleeping": 1, "cooking": 1}
    assert {sample.captions for sample in data_set.split("train")} == {("a", "b", "c", "d")}
    assert data_set.problems == ()


def test_unseen_verbs_in_a_released_training_file_are_left_out_too(root: Path) -> None:
    _release(root)
    _write(root, "train_L10_with_obj_cap_refined.json", _entries(root, "train.json"))
    data_set = _read(root, split_by="files")
    assert "cooking" not in _verbs(data_set, "train")
    assert "1 training pictures of 1 unseen verbs are left out of the training set" in data_set.notes


def test_a_verb_released_as_both_unseen_and_rare_is_refused(root: Path) -> None:
    _release(root)
    _write(root, "test_L20_rare_with_obj_cap_refined.json", _entries(root, "test.json"))
    with pytest.raises(UserError, match="'cooking' is both unseen and rare"):
        _read(root)


def test_a_missing_train_json_beside_released_files_is_answered_with_the_way_to_use_them(root: Path) -> None:
    _release(root)
    (root / "SWiG_jsons" / "train.json").unlink()
    with pytest.raises(UserError, match=r"--set data\.split_by=files"):
        _read(root, split_by="frequency")
    assert len(_read(root).split("train")) == 9


def test_verbs_without_pictures_are_noted(root: Path) -> None:
    _write(
        root, "test.json", {i: e for i, e in _entries(root, "test.json").items() if e["verb"] != "cooking"}
    )
    _write(
        root, "train.json", {i: e for i, e in _entries(root, "train.json").items() if e["verb"] != "riding"}
    )
    (root / "SWiG_jsons" / "splits.json").write_text('{"unseen": ["cooking"]}')
    assert _read(root).notes == (
        "1 training pictures of 1 unseen verbs are left out of the training set",
        "no unseen verb has a test picture: figures of the unseen subset will be empty",
        "1 of the 3 seen verbs have no training picture in this data set",
        "1 verbs have test pictures and no training picture, yet count as seen or rare, e.g. 'riding'",
    )


def test_the_fingerprint_follows_the_contents_and_not_the_folder(root: Path, tmp_path: Path) -> None:
    before = _read(root).fingerprint
    assert _read(root).fingerprint == before
    moved = root.rename(tmp_path / "elsewhere")
    assert _read(moved).fingerprint == before
    seen = {before}
    space = _entries(moved, "imsitu_space.json")
    space["verbs"]["riding"]["abstract"] = "another sentence"
    _write(moved, "imsitu_space.json", space)
    seen.add(_read(moved).fingerprint)
    entries = _entries(moved, "dev.json")
    entries["riding_dev0.jpg"]["bb"]["agent"] = [1, 2, 30, 41]
    _write(moved, "dev.json", entries)
    seen.add(_read(moved).fingerprint)
    seen.add(_read(moved, rare_share=0.25).fingerprint)
    entries["riding_dev0.jpg"]["pos_verb_caption"] = "A man rides."
    _write(moved, "dev.json", entries)
    seen.add(_read(moved).fingerprint)
    assert len(seen) == 5


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not at hand")
def test_the_eleven_real_pictures_are_read() -> None:
    data_set = _read(SHARED)
    assert [len(data_set.split(split)) for split in ("train", "dev", "test")] == [7, 4, 4]
    assert data_set.images_folder == SHARED / "images"
    assert data_set.problems == ()
    assert Counter(data_set.subset_of.values()) == {"seen": 404, "rare": 50, "unseen": 50}
    assert data_set.subset_of["jumping"] == data_set.subset_of["carting"] == "seen"
    assert "no unseen verb has a test picture: figures of the unseen subset will be empty" in data_set.notes
    horse = next(sample for sample in data_set.samples if sample.image == "jumping_101.jpg")
    assert horse.boxes[0] == (47.0, 69.0, 172.0, 183.0)
    assert [data_set.vocabulary.gloss(noun) for noun in horse.nouns[0]] == ["horse"] * 3
