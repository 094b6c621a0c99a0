"""Rationales of different pictures that say the same are found, by their text and by their vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cache.errors import UserError
from cache.index import build_index
from cache.manifest import add_parts, put_in_force
from cache.paths import StorePaths
from cache.rationales import append_rationales
from cache.vectors import RATIONALES, Floats, VectorKey, write_vectors
from pipeline.config import Config
from pipeline.looking.duplicates import Group, count_repeated, duplicates, find_near, gather
from pipeline.looking.inspect import summary
from pipeline.workspace import Workspace
from tests.cache.small_store import PRODUCER, empty_store, row

Make = Callable[..., Config]


def at(*degrees: float) -> Floats:
    """Unit vectors in a plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def filled(root: Path, texts: dict[str, tuple[str, float]]) -> StorePaths:
    """A store of one rationale a picture: image -> its text and where its vector points."""
    paths = empty_store(root)
    append_rationales(paths, [row(image, text=text) for image, (text, _) in texts.items()], PRODUCER)
    put_in_force(paths, RATIONALES, "f")
    keys = [VectorKey(image, "glimpse", "positive") for image in texts]
    vectors = at(*(angle for _, angle in texts.values()))
    add_parts(paths, [write_vectors(paths, RATIONALES, keys, ["1"] * len(keys), vectors, "f", PRODUCER)])
    build_index(paths, RATIONALES, PRODUCER)
    return paths


TEXTS = {
    "a.jpg": ("A man jumps.", 0.0),
    "b.jpg": ("a man  JUMPS.", 0.0),
    "c.jpg": ("A man leaps.", 5.0),
    "d.jpg": ("A horse sleeps.", 90.0),
    "e.jpg": ("A dog barks.", 180.0),
    "f.jpg": ("A hound barks.", 184.0),
}


@pytest.fixture
def workspace(tmp_path: Path, small_config: Make) -> Workspace:
    config = small_config(tmp_path / "run")
    filled(config.store, TEXTS)
    return Workspace(config)


def images(group: dict[str, object]) -> list[str]:
    rationales = group["rationales"]
    assert isinstance(rationales, list)
    return [rationale["image"] for rationale in rationales]


def test_equal_texts_and_near_vectors_make_a_group(workspace: Workspace) -> None:
    result = duplicates(workspace, {}, 0.99, 0)
    assert [images(group) for group in result.data["groups"]] == [
        ["a.jpg", "b.jpg", "c.jpg"],
        ["e.jpg", "f.jpg"],
    ]
    assert [group["wordings"] for group in result.data["groups"]] == [2, 2]
    assert result.data["groups"][0]["lowest"] == pytest.approx(np.cos(np.radians(5)), abs=1e-5)
    assert result.text.startswith(
        "5 of 6 rationales (83.3%) are in 2 groups of different pictures with a cosine from 0.99\n"
    )


def test_at_a_cosine_of_one_equal_wordings_alone_count(workspace: Workspace) -> None:
    assert [images(group) for group in duplicates(workspace, {}, 1.0, 0).data["groups"]] == [
        ["a.jpg", "b.jpg"]
    ]


def test_at_most_as_many_groups_as_asked_are_shown_and_all_are_counted(workspace: Workspace) -> None:
    result = duplicates(workspace, {}, 0.99, 1)
    assert len(result.data["groups"]) == 1
    assert result.data["repeated"] == 5
    assert result.text.endswith("\n1 of 2 groups; see more with --limit")


def test_filters_leave_out_the_others(workspace: Workspace) -> None:
    result = duplicates(workspace, {"polarity": "negative"}, 0.9, 0)
    assert result.text == (
        "0 of 0 rationales (0.0%) are in 0 groups of different pictures with a cosine from 0.9"
    )


@pytest.mark.parametrize("threshold", [0.0, 1.01, -1.0])
def test_a_threshold_that_is_no_cosine_is_refused(workspace: Workspace, threshold: float) -> None:
    with pytest.raises(UserError, match=rf"^--threshold {threshold} is not a cosine above 0 and up to 1, "):
        duplicates(workspace, {}, threshold, 0)


def test_the_texts_of_one_picture_are_no_duplicates_of_each_other(tmp_path: Path, small_config: Make) -> None:
    config = small_config(tmp_path / "run")
    paths = empty_store(config.store)
    rows = [row("a.jpg", text="Same."), row("a.jpg", polarity="negative", text="Same.")]
    append_rationales(paths, rows, PRODUCER)
    put_in_force(paths, RATIONALES, "f")
    keys = [VectorKey("a.jpg", "glimpse", polarity) for polarity in ("positive", "negative")]
    add_parts(paths, [write_vectors(paths, RATIONALES, keys, ["1", "1"], at(0, 0), "f", PRODUCER)])
    build_index(paths, RATIONALES, PRODUCER)
    assert duplicates(Workspace(config), {}, 0.9, 0).data["groups"] == []
    assert count_repeated(pl.DataFrame(rows)) == 0


def test_more_neighbours_than_are_asked_for_at_first_are_all_found(tmp_path: Path) -> None:
    """Seventy texts of different words that point the same way."""
    texts = {f"{number}.jpg": (f"Text {number}.", number / 100) for number in range(70)}
    paths = filled(tmp_path, texts)
    frame = pl.DataFrame(
        {"image": list(texts), "aspect": "glimpse", "polarity": "positive", "wording": range(70)}
    )
    near = find_near(paths, frame, 0.99)
    assert {wording: len(others) for wording, others in near.items()} == dict.fromkeys(range(70), 69)


def test_a_group_is_near_its_leader_and_not_chained() -> None:
    near = {0: {1: 0.99}, 1: {0: 0.99, 2: 0.99}, 2: {1: 0.99, 3: 0.98}, 3: {2: 0.98}}
    assert gather(near, {0: 5, 1: 1, 2: 2, 3: 1}) == [Group([0, 1], [1.0, 0.99]), Group([2, 3], [1.0, 0.98])]


def test_the_summary_counts_texts_that_another_picture_has_too(workspace: Workspace) -> None:
    result = summary(workspace)
    assert result.data["repeated"] == 2
    assert (
        "2 usable rationales have the very text of another picture; see them with `mipd-pipe" in result.text
    )
