"""The drawn data set: its bytes, its boxes, its structure, its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cache.errors import UserError
from stages.data.scene_grammar import FEWEST_VERBS, MOST_VERBS, SEEN, UNSEEN, VerbParts, chosen_verbs
from stages.data.scene_layout import Drawing, draw_scene
from stages.data.scene_nouns import FILLERS, GLOSSES, NAMES, noun_ids
from stages.data.scene_pen import Layer, visible_boxes
from stages.data.scene_plan import FEWEST_IMAGES, Planned, planned_scenes, split_counts, verbs_for
from stages.data.scenes import RECORD, draw_data_set

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "drawn"
    draw_data_set(folder, images=48, seed=3)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def entries(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for split in ("train", "dev", "test"):
        for image, entry in json.loads((folder / f"SWiG_jsons/{split}.json").read_text()).items():
            yield split, image, entry


# ------------------------------------------------------------------------------------------- bytes, files


def test_the_same_seed_gives_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    draw_data_set(tmp_path / "again", images=48, seed=3)
    assert contents(tmp_path / "again") == contents(drawn)


def test_another_seed_gives_other_pictures(drawn: Path, tmp_path: Path) -> None:
    draw_data_set(tmp_path / "other", images=48, seed=4)
    ours, theirs = contents(drawn), contents(tmp_path / "other")
    pictures = [name for name in ours if name.startswith("images_512/")]
    assert len(pictures) == 48
    assert all(ours[name] != theirs[name] for name in pictures)


def test_a_picture_does_not_depend_on_how_many_are_drawn() -> None:
    few = {planned.image: planned.scene for planned in planned_scenes(48, 0)}
    many = {planned.image: planned.scene for planned in planned_scenes(300, 0)}
    assert few["running_1.jpg"] == many["running_1.jpg"]


def test_files_follow_the_published_layout(drawn: Path) -> None:
    names = set(contents(drawn))
    lists = {"verb_indices.txt", "role_indices.txt", "train_classes.csv", "imsitu_space.json", "splits.json"}
    assert {f"SWiG_jsons/{name}" for name in lists} <= names
    space = json.loads((drawn / "SWiG_jsons/imsitu_space.json").read_text())
    classes = [line.split(",") for line in (drawn / "SWiG_jsons/train_classes.csv").read_text().splitlines()]
    assert [int(number) for _, number in classes] == list(range(len(classes)))
    assert [classes[i][0] for i in (0, -2, -1)] == ["blank", "oov", "Pad"]
    assert {name for name, _ in classes[1:-2]} == set(space["nouns"])
    assert (drawn / "SWiG_jsons/verb_indices.txt").read_text().split() == sorted(space["verbs"])
    roles = {role for verb in space["verbs"].values() for role in verb["order"]}
    assert (drawn / "SWiG_jsons/role_indices.txt").read_text().split() == sorted(roles)
    assert (drawn / "SWiG_jsons/role_indices.txt").read_text().endswith("\n")
    for verb in space["verbs"].values():
        assert set(verb) == {"abstract", "def", "framenet", "order", "roles"}
        assert set(verb["order"]) == set(verb["roles"])
        assert 2 <= len(verb["order"]) <= 4
        assert all(verb["abstract"].split().count(role.upper()) == 1 for role in verb["order"])


def test_every_annotation_fits_its_picture_and_its_verb(drawn: Path) -> None:
    space = json.loads((drawn / "SWiG_jsons/imsitu_space.json").read_text())
    images = []
    for _, image, entry in entries(drawn):
        images.append(image)
        with Image.open(drawn / "images_512" / image) as picture:
            assert picture.size == (entry["width"], entry["height"])
        order = space["verbs"][entry["verb"]]["order"]
        assert list(entry["bb"]) == order
        assert [list(frame) for frame in entry["frames"]] == [order] * 3
        assert entry["bb"]["place"] == [-1, -1, -1, -1]
        for role, (x1, y1, x2, y2) in entry["bb"].items():
            nouns = [frame[role] for frame in entry["frames"]]
            assert all(noun == "" or noun in space["nouns"] for noun in nouns)
            if x1 == -1:
                assert role == "place" or nouns == ["", "", ""]
            else:
                assert 0 <= x1 < x2 <= entry["width"]
                assert 0 <= y1 < y2 <= entry["height"]
                assert any(nouns)
    assert sorted(images) == sorted(path.name for path in (drawn / "images_512").iterdir())
    assert len(set(images)) == 48


def test_the_written_picture_is_the_drawn_one(drawn: Path) -> None:
    planned = next(planned_scenes(48, 3))
    with Image.open(drawn / "images_512" / planned.image) as picture:
        written = np.asarray(picture, dtype=np.int64)
    drawing = draw_scene(planned.scene)
    assert np.abs(written - np.asarray(drawing.picture(), dtype=np.int64)).mean() < 2  # JPEG
    entry = json.loads((drawn / "SWiG_jsons/train.json").read_text())[planned.image]
    assert {r: tuple(b) for r, b in entry["bb"].items() if b[0] >= 0} == dict(drawing.boxes)


def test_the_summary_is_what_was_drawn_and_is_kept_beside_it(tmp_path: Path) -> None:
    summary = draw_data_set(tmp_path / "drawn", 48, 3)
    assert (summary.images, summary.seed, summary.verbs, summary.unseen) == (48, 3, 12, 2)
    assert sum(summary.samples.values()) == 48
    assert json.loads((tmp_path / "drawn" / RECORD).read_text()) == asdict(summary)


# ------------------------------------------------------------------------------------------------- boxes


def repainted(drawing: Drawing, role: str, value: int) -> NDArray[np.int64]:
    """The red channel of the picture with one role's thing painted in a single grey."""

    def paint(layer: Layer) -> Layer:
        flat = Image.new("RGBA", layer.image.size, (value, value, value, 0))
        flat.putalpha(layer.image.getchannel("A"))
        return replace(layer, image=flat)

    layers = tuple(paint(layer) if layer.role == role else layer for layer in drawing.layers)
    return np.asarray(replace(drawing, layers=layers).picture(), dtype=np.int64)[..., 0]


def test_boxes_are_exact_to_the_pixels() -> None:
    """Painted black and white, a thing changes exactly the pixels it shows in, by how much it shows."""
    checked = 0
    for planned in islice(planned_scenes(600, 5), 0, 500, 12):
        drawing = draw_scene(planned.scene)
        for role, box in drawing.boxes.items():
            shows = repainted(drawing, role, 255) - repainted(drawing, role, 0) >= 128
            rows, columns = np.nonzero(shows)
            assert box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), (
                planned.image,
                role,
            )
            checked += 1
    assert checked > 60


def test_what_is_drawn_can_be_seen() -> None:
    for planned in islice(planned_scenes(600, 6), 0, 500, 12):
        filled = {role for role, name in planned.scene.fillers.items() if name} - {"place"}
        assert set(draw_scene(planned.scene).boxes) == filled, planned.image


def square(role: str, left: int, top: int, side: int) -> Layer:
    return Layer(role, Image.new("RGBA", (side, side), (9, 9, 9, 255)), left, top)


def test_a_box_leaves_out_what_a_later_layer_hides() -> None:
    under, over = square("agent", 2, 2, 6), square("blocker", 5, 0, 10)
    assert visible_boxes([under, over], 20, 20) == {"agent": (2, 2, 5, 8), "blocker": (5, 0, 15, 10)}
    assert visible_boxes([under, square("", 0, 0, 20)], 20, 20) == {}


def test_a_box_ends_at_the_picture() -> None:
    assert visible_boxes([square("agent", 15, 17, 9)], 20, 18) == {"agent": (15, 17, 20, 18)}


# ------------------------------------------------------------------------------------------------- structure


def parts(verbs: tuple[str, ...]) -> set[str]:
    return {word for verb in verbs for word in verb.split("-")}


@pytest.mark.parametrize("count", range(FEWEST_VERBS, MOST_VERBS + 1))
def test_parts_of_unseen_verbs_occur_in_ordinary_ones(count: int) -> None:
    verbs = chosen_verbs(count)
    assert parts(verbs.unseen) <= parts(verbs.ordinary)
    assert len(verbs.all) == len(set(verbs.all)) == count
    assert 0.12 <= len(verbs.unseen) / count <= 0.2
    assert len(verbs.rare) >= 1


def test_the_full_set_has_48_verbs_of_which_a_sixth_is_unseen() -> None:
    verbs = verbs_for(1200)
    assert (len(verbs.all), len(verbs.unseen), len(verbs.rare)) == (48, 8, 5)
    assert not set(SEEN) & set(UNSEEN)


def test_sentences_of_verbs_share_the_words_of_their_parts() -> None:
    waving = VerbParts.of("jumping-over-waving")
    assert waving.roles == ("agent", "obstacle", "tool", "place")
    assert waving.template == "AGENT jumps over OBSTACLE waving TOOL at PLACE"
    for shorter in ("jumping-over", "jumping-waving"):
        assert set(VerbParts.of(shorter).definition.split()) <= set(waving.definition.split())


@settings(max_examples=50)
@given(st.integers(FEWEST_IMAGES, 3000))
def test_counts_sum_to_the_pictures_asked_for(images: int) -> None:
    counts, verbs = split_counts(images), verbs_for(images)
    assert sum(sum(split.values()) for split in counts.values()) == images
    assert set(counts["train"]) == set(verbs.seen)
    assert set(counts["dev"]) == set(counts["test"]) == set(verbs.all)
    assert min(min(split.values()) for split in counts.values()) >= 1
    assert len(set(counts["test"].values())) == len(set(counts["dev"].values())) == 1


def test_training_is_long_tailed() -> None:
    verbs, train = verbs_for(1200), split_counts(1200)["train"]
    ordinary = [train[verb] for verb in verbs.ordinary]
    assert ordinary == sorted(ordinary, reverse=True)
    assert ordinary[0] >= 5 * ordinary[-1]
    assert max(train[verb] for verb in verbs.rare) <= 4 < min(ordinary)
    assert min(split_counts(1200)["test"].values()) == 5


def test_planned_pictures_match_the_counts() -> None:
    planned = list(planned_scenes(240, 1))
    counts = split_counts(240)
    for split, verbs in counts.items():
        for verb, count in verbs.items():
            assert sum(p.split == split and p.scene.verb == verb for p in planned) == count
    assert len({p.image for p in planned}) == 240


def said(planned: list[Planned]) -> list[tuple[str, tuple[str, ...]]]:
    return [(role, names) for p in planned for role, names in p.names.items()]


def test_annotators_use_synonyms_and_leave_roles_empty() -> None:
    answers = said(list(planned_scenes(1200, 2)))
    filled = [names for _, names in answers if any(names)]
    disagree = sum(len(set(names) - {""}) > 1 for names in filled) / len(filled)
    assert 0.3 < disagree < 0.8
    overlooked = sum("" in names for names in filled) / len(filled)
    assert 0.03 < overlooked < 0.1
    unfilled = [role for role, names in answers if not any(names)]
    others = [role for role, _ in answers if role not in ("agent", "place")]
    assert not {"agent", "place"} & set(unfilled)
    assert 0.02 < len(unfilled) / len(others) < 0.07


def test_nouns_are_many_and_every_one_is_used() -> None:
    used = {noun for _, names in said(list(planned_scenes(1200, 0))) for noun in names} - {""}
    assert used == set(GLOSSES)
    assert len(used) >= 30
    assert len(set(GLOSSES.values())) == len(GLOSSES)
    assert {name for choices in FILLERS.values() for name in choices} <= set(NAMES)


def test_an_unfilled_role_is_not_drawn() -> None:
    planned = next(p for p in planned_scenes(1200, 0) if "" in p.scene.fillers.values())
    (empty,) = [role for role, name in planned.scene.fillers.items() if not name]
    assert planned.names[empty] == ("", "", "")
    assert empty not in draw_scene(planned.scene).boxes


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real vocabulary lies beside the checkout, and is not here"
)
def test_noun_ids_are_those_of_the_real_vocabulary() -> None:
    real = json.loads((SHARED / "swig/imsitu_space.json").read_text())["nouns"]
    wrong = {noun for noun, gloss in GLOSSES.items() if gloss not in real[noun]["gloss"]}
    assert wrong == {noun_ids("boy")[0]}  # "male child" there; "boy" is the same WordNet set's other name


# ------------------------------------------------------------------------------------------- bad input, stops


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"47 pictures are too few: 48 is the least .* ask for --images 48"):
        draw_data_set(tmp_path / "few", images=47, seed=0)
    assert not (tmp_path / "few").exists()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(
        UserError, match=r"is not empty and not a drawn data set .* name a new or empty folder"
    ):
        draw_data_set(tmp_path, images=48, seed=0)
    assert contents(tmp_path) == {"thesis.tex": b"mine"}


def test_a_drawn_data_set_with_own_files_in_it_is_left_alone(drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn, tmp_path / "set")
    (tmp_path / "set/notes.md").write_text("mine")
    with pytest.raises(UserError, match=r"something else in it \(notes.md\), .* name a new folder"):
        draw_data_set(tmp_path / "set", images=48, seed=4)
    assert contents(tmp_path / "set") == {**contents(drawn), "notes.md": b"mine"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file is a file; name a new or empty folder"):
        draw_data_set(tmp_path / "file", images=48, seed=0)


def test_an_interrupted_call_leaves_what_was_there_and_can_be_repeated(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    calls = 0

    def interrupt() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_data_set(folder, 48, 3, interrupt)
    assert calls == 5
    assert list(tmp_path.iterdir()) == [folder]
    assert not list(folder.iterdir())
    left_by_a_killed_call = tmp_path / ".set.tmp-drawing"
    (left_by_a_killed_call / "images_512").mkdir(parents=True)
    (left_by_a_killed_call / "images_512/half.jpg").write_bytes(b"half")
    (tmp_path / ".set.tmp-old").mkdir()
    draw_data_set(folder, 48, 3)
    assert contents(folder) == contents(drawn)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_drawn_data_set_is_replaced_whole(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    draw_data_set(folder, 60, 9)
    draw_data_set(folder, 48, 3)
    assert contents(folder) == contents(drawn)
    assert list(tmp_path.iterdir()) == [folder]
