from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.data.check import DataReport, check_data
from stages.data.ledger import PictureLedger
from stages.data.settings import DataSettings
from stages.data.swig import read_data_set

SHARED = Path(__file__).parents[2].parent / "shared" / "swig"


def _check(root: Path, tmp_path: Path, **settings: object) -> DataReport:
    data_set = read_data_set(DataSettings.model_validate({"root": root} | settings))
    return check_data(data_set, PictureLedger(tmp_path / "pictures.parquet", 1_000_000))


def _damage(root: Path) -> None:
    """One bad entry in dev, one clipped box in train, one empty picture of train, one missing of test."""
    for file, image, key, value in (
        ("dev.json", "riding_dev0.jpg", "height", -1),
        ("train.json", "jumping_train0.jpg", "bb", {"agent": [1, 2, 99, 40], "obstacle": [-1, -1, -1, -1]}),
    ):
        path = root / "SWiG_jsons" / file
        entries = json.loads(path.read_text())
        entries[image][key] = value
        path.write_text(json.dumps(entries))
    (root / "images_512" / "jumping_train1.jpg").write_bytes(b"")
    (root / "images_512" / "sleeping_test0.jpg").unlink()


def test_counts_are_per_split_and_subset(root: Path, tmp_path: Path) -> None:
    report = _check(root, tmp_path, unseen_share=0.25, rare_share=0.25)
    table = {(c.split, c.subset): (c.pictures, c.verbs, c.unusable) for c in report.counts}
    assert table == {
        ("train", "seen"): (7, 2, 0),
        ("train", "rare"): (2, 1, 0),
        ("train", "unseen"): (0, 0, 0),
        ("dev", "seen"): (2, 2, 0),
        ("dev", "rare"): (1, 1, 0),
        ("dev", "unseen"): (1, 1, 0),
        ("test", "seen"): (2, 2, 0),
        ("test", "rare"): (1, 1, 0),
        ("test", "unseen"): (1, 1, 0),
    }
    assert report.verbs == {"seen": 2, "rare": 1, "unseen": 1}
    assert (report.usable, report.failed, report.failure_rate, report.problems) == (17, 0, 0.0, ())


def test_problems_of_annotations_and_pictures_are_listed_and_counted(root: Path, tmp_path: Path) -> None:
    _damage(root)
    report = _check(root, tmp_path)
    assert [(p.severity, p.file, p.image) for p in report.problems] == [
        ("note", "SWiG_jsons/train.json", "jumping_train0.jpg"),
        ("error", "SWiG_jsons/dev.json", "riding_dev0.jpg"),
        ("error", "images_512/jumping_train1.jpg", "jumping_train1.jpg"),
        ("error", "images_512/sleeping_test0.jpg", "sleeping_test0.jpg"),
    ]
    assert (report.usable, report.failed) == (15, 3)
    assert report.failure_rate == 3 / 18
    table = {(c.split, c.subset): (c.pictures, c.unusable) for c in report.counts}
    assert table["train", "seen"] == (9, 1)
    assert table["test", "seen"] == (3, 1)


def test_the_text_has_the_table_and_every_problem(root: Path, tmp_path: Path) -> None:
    _damage(root)
    lines = _check(root, tmp_path).to_text().splitlines()
    assert "split  subset  pictures  verbs  unusable" in lines
    assert "train  seen           9      4         1" in lines
    assert "verbs: 4 seen, 0 rare, 0 unseen" in lines
    assert (
        "error: SWiG_jsons/dev.json: riding_dev0.jpg: height -1 is not a whole number of pixels "
        "from 1 to 10000000" in lines
    )
    assert (
        "error: images_512/jumping_train1.jpg: jumping_train1.jpg: zero-byte file; copy the picture again"
        in lines
    )
    assert lines[-1] == "15 pictures usable, 3 not (16.67 %); 3 errors, 1 notes"


def test_the_json_holds_what_the_text_says(root: Path, tmp_path: Path) -> None:
    _damage(root)
    report = json.loads(json.dumps(_check(root, tmp_path).to_json()))
    assert report["counts"][0] == {
        "split": "train",
        "subset": "seen",
        "pictures": 9,
        "verbs": 4,
        "unusable": 1,
    }
    assert report["verbs"] == {"seen": 4, "rare": 0, "unseen": 0}
    assert len(report["problems"]) == 4
    assert report["problems"][2]["image"] == "jumping_train1.jpg"
    assert (report["usable"], report["failed"], report["failure_rate"]) == (15, 3, 3 / 18)


def test_a_picture_of_the_stand_in_test_set_is_counted_once_as_a_problem(root: Path, tmp_path: Path) -> None:
    (root / "SWiG_jsons" / "test.json").unlink()
    (root / "images_512" / "riding_dev0.jpg").unlink()
    report = _check(root, tmp_path)
    assert [problem.image for problem in report.problems] == ["riding_dev0.jpg"]
    assert (report.usable, report.failed) == (13, 1)
    assert any(line.startswith("note: no test.json") for line in report.to_text().splitlines())


def test_a_bad_name_reaches_the_text_only_spelled_out(root: Path, tmp_path: Path) -> None:
    path = root / "SWiG_jsons" / "dev.json"
    entries = json.loads(path.read_text())
    entries["\x1b[2J.jpg"] = entries["riding_dev0.jpg"]
    path.write_text(json.dumps(entries))
    text = _check(root, tmp_path).to_text()
    assert "\x1b" not in text
    assert "error: SWiG_jsons/dev.json: \\x1b[2J.jpg: image name" in text


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not at hand")
def test_the_real_pictures_have_no_fault(tmp_path: Path) -> None:
    data_set = read_data_set(DataSettings(root=SHARED))
    report = check_data(data_set, PictureLedger(tmp_path / "pictures.parquet", 50_000_000))
    assert (report.usable, report.failed, report.problems) == (11, 0, ())
