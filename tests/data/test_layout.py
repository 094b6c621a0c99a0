from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import UserError
from stages.data.layout import find_layout
from stages.data.settings import DataSettings


def _refused(**settings: object) -> str:
    with pytest.raises(UserError) as caught:
        find_layout(DataSettings.model_validate(settings))
    return str(caught.value)


def test_pictures_and_annotations_are_found_in_their_published_folders(root: Path) -> None:
    layout = find_layout(DataSettings(root=root))
    assert (layout.images, layout.annotations) == (root / "images_512", root / "SWiG_jsons")
    assert layout.name(root / "SWiG_jsons" / "dev.json") == "SWiG_jsons/dev.json"
    assert layout.name(Path("/elsewhere/dev.json")) == "/elsewhere/dev.json"


def test_pictures_may_lie_in_images_or_in_the_root(root: Path) -> None:
    (root / "images_512").rename(root / "images")
    assert find_layout(DataSettings(root=root)).images == root / "images"
    (root / "images").rename(root.parent / "away")
    assert find_layout(DataSettings(root=root)).images == root


def test_annotations_may_lie_in_the_root(root: Path) -> None:
    for path in (root / "SWiG_jsons").iterdir():
        path.rename(root / path.name)
    assert find_layout(DataSettings(root=root)).annotations == root


def test_the_root_may_be_the_annotations_folder_beside_the_pictures(root: Path) -> None:
    layout = find_layout(DataSettings(root=root / "SWiG_jsons"))
    assert layout.images.samefile(root / "images_512")
    assert layout.annotations == root / "SWiG_jsons"


def test_folders_elsewhere_may_be_given(root: Path, tmp_path: Path) -> None:
    (root / "images_512").rename(tmp_path / "pictures")
    (root / "SWiG_jsons").rename(tmp_path / "texts")
    settings = DataSettings(
        root=root, images_folder=tmp_path / "pictures", annotations_folder=tmp_path / "texts"
    )
    layout = find_layout(settings)
    assert (layout.images, layout.annotations) == (tmp_path / "pictures", tmp_path / "texts")


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    message = _refused(root=tmp_path / "none")
    assert message.startswith(
        f"data.root: {tmp_path / 'none'} is not a folder; give the folder of a data set"
    )
    assert "mipd-pipe demo-data DIR" in message


def test_missing_annotations_are_refused_naming_where_they_were_looked_for(tmp_path: Path) -> None:
    message = _refused(root=tmp_path)
    assert message.startswith(
        f"no imsitu_space.json in {tmp_path / 'SWiG_jsons'} or {tmp_path}; the annotations are"
    )
    assert "data.annotations_folder" in message


def test_missing_vocabulary_files_are_refused_by_name(root: Path) -> None:
    (root / "SWiG_jsons" / "verb_indices.txt").unlink()
    (root / "SWiG_jsons" / "train_classes.csv").unlink()
    assert "SWiG_jsons: lacks verb_indices.txt, train_classes.csv, which" in _refused(root=root)


def test_a_pictures_folder_that_is_not_there_is_refused(root: Path) -> None:
    assert _refused(root=root, images_folder=root / "none").startswith("data.images_folder: ")


def test_released_files_are_found_by_the_beginning_of_their_names(root: Path) -> None:
    annotations = root / "SWiG_jsons"
    names = [
        "train_L10_with_obj_cap_refined.json",
        "dev_L10_unseen_with_obj_cap_refined.json",
        "test_L10_unseen_x.json",
        "dev_L20_rare_with_obj_cap_refined.json",
        "test_L20_rare.json",
    ]
    for name in names:
        (annotations / name).write_text("{}")
    layout = find_layout(DataSettings(root=root))
    assert layout.is_released
    assert layout.released_train == annotations / names[0]
    assert layout.released_unseen == (annotations / names[1], annotations / names[2])
    assert layout.released_rare == (annotations / names[3], annotations / names[4])
    assert layout.evaluation_files("dev", True) == tuple(
        annotations / n for n in ("dev.json", names[3], names[1])
    )
    assert layout.evaluation_files("dev", False) == (annotations / "dev.json",)


def test_two_released_training_files_are_refused(root: Path) -> None:
    for name in ("train_L10_a.json", "train_L10_b.json"):
        (root / "SWiG_jsons" / name).write_text("{}")
    assert "2 released training files (train_L10_a.json, train_L10_b.json); one is needed" in _refused(
        root=root
    )
