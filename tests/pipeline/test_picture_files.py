"""What files, folders and patterns mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.picture_files import find_pictures


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/c.webp", ".hidden/d.jpg", "odd[1].jpg", "plain"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def found(*arguments: object) -> list[str]:
    return [picture.name.as_posix() for picture in find_pictures([str(argument) for argument in arguments])]


def test_a_folder_means_the_pictures_in_and_below_it(photos: Path) -> None:
    assert found(photos) == ["a.PNG", "b.jpg", "deep/c.webp", "odd[1].jpg"]


def test_a_pattern_is_expanded_where_the_shell_did_not(photos: Path) -> None:
    assert found(photos / "*.jpg") == ["b.jpg", "odd[1].jpg"]
    assert found(photos / "**" / "*.webp") == ["c.webp"]
    assert found(photos / "*") == ["a.PNG", "b.jpg", "odd[1].jpg"], "only pictures"


def test_a_named_file_is_taken_as_it_is(photos: Path) -> None:
    assert found(photos / "plain", photos / "odd[1].jpg") == ["plain", "odd[1].jpg"]


def test_each_file_counts_once_in_the_order_given(photos: Path) -> None:
    given = photos / "b.jpg", photos, photos / "*.jpg"
    assert found(*given) == [
        "b.jpg",
        "a.PNG",
        "deep/c.webp",
        "odd[1].jpg",
    ]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("none.jpg", "no picture {}/none.jpg: there is no such file or folder; check the path"),
        ("*.gif", "no picture matches '{}/*.gif'; in quotes, `**/` goes through folders"),
        ("empty", "the folder {}/empty holds no picture (.bmp, .gif"),
    ],
)
def test_what_means_no_picture_is_refused(photos: Path, argument: str, message: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        find_pictures([str(photos / "b.jpg"), str(photos / argument)])
    assert message.format(photos) in str(caught.value)
