from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cache.errors import UserError
from stages.data.vocabulary_files import read_vocabulary

SHARED = Path(__file__).parents[2].parent / "shared" / "swig"


def _space(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "SWiG_jsons" / "imsitu_space.json").read_text())
    return found


def _refused(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_vocabulary(root / "SWiG_jsons")
    return str(caught.value)


def test_class_numbers_are_the_published_ones(root: Path) -> None:
    vocabulary = read_vocabulary(root / "SWiG_jsons")
    assert vocabulary.verbs == ("jumping", "riding", "sleeping", "cooking")
    assert vocabulary.roles == ("agent", "food", "obstacle", "place", "vehicle")
    assert vocabulary.nouns[0] == "blank"
    assert vocabulary.nouns[-2:] == ("oov", "Pad")
    assert vocabulary.frames["riding"].roles == ("agent", "vehicle", "place")
    assert vocabulary.frames["riding"].template == "AGENT is riding"
    assert vocabulary.gloss("n02374451") == "horse"
    assert vocabulary.noun_class("n02374451") == 1
    assert vocabulary.noun_class("") == 0
    assert vocabulary.noun_class("n99999999") == 5


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "verb_indices.txt",
            "jumping\nriding\n\njumping\n",
            "verb_indices.txt, line 4: 'jumping' stands already in line 1; a name has one number",
        ),
        ("role_indices.txt", "agent\nagent\n", "role_indices.txt, line 2: 'agent' stands already in line 1"),
        ("role_indices.txt", "", "role_indices.txt: empty file (0 bytes); expected one role a line"),
        (
            "role_indices.txt",
            "agent\nfood\nobstacles\nplace\nvehicle\n",
            "verb 'jumping': the role 'obstacle' is not in role_indices.txt; "
            "the nearest known is 'obstacles'",
        ),
        (
            "verb_indices.txt",
            "jumping\nrideing\n",
            "no frame for the verb 'rideing' of verb_indices.txt; the nearest known is 'riding'",
        ),
        (
            "train_classes.csv",
            "blank,0\noov,2\n",
            "train_classes.csv, line 2: found 'oov,2'; expected a noun class and 1",
        ),
        (
            "train_classes.csv",
            "blank\n",
            "train_classes.csv, line 1: found 'blank'; expected a noun class and 0",
        ),
        ("train_classes.csv", "blank,0\nblank,1\n", "train_classes.csv, line 2: 'blank' stands twice"),
        ("train_classes.csv", "horse,0\n", "train_classes.csv, line 1: 'horse' is neither a WordNet id"),
        ("train_classes.csv", "blank,0\noov,1\n", "train_classes.csv: lacks the class Pad"),
        ("imsitu_space.json", '{"verbs": {}}', 'imsitu_space.json: lacks the object "verbs"'),
        ("imsitu_space.json", "{", "imsitu_space.json, line 1, column 2: not JSON"),
    ],
)
def test_a_broken_vocabulary_file_stops_and_is_named(root: Path, file: str, text: str, message: str) -> None:
    (root / "SWiG_jsons" / file).write_text(text)
    assert message in _refused(root)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            {"order": "agent", "abstract": ""},
            "verb 'riding': \"order\" is 'agent'; expected a list of role names",
        ),
        ({"abstract": ""}, "verb 'riding': \"order\" is None; expected a list of role names"),
        (
            {"order": [], "abstract": ""},
            "verb 'riding': \"order\" has 0 roles (0 different); expected 1 to 6",
        ),
        (
            {"order": ["agent"] * 2, "abstract": ""},
            '"order" has 2 roles (1 different); expected 1 to 6, each once',
        ),
        ({"order": list("abcdefg"), "abstract": ""}, '"order" has 7 roles (7 different)'),
        ({"order": ["agent"]}, "verb 'riding': \"abstract\" is None; expected a sentence"),
        ({"order": ["agent"], "abstract": "\ud800"}, "\"abstract\" is '\\ud800'; expected a sentence"),
        ({"order": ["agent"], "abstract": "", "def": 3}, "verb 'riding': \"def\" is 3; expected a sentence"),
    ],
)
def test_a_broken_frame_stops_and_is_named(root: Path, frame: dict[str, Any], message: str) -> None:
    space = _space(root)
    space["verbs"]["riding"] = frame
    (root / "SWiG_jsons" / "imsitu_space.json").write_text(json.dumps(space))
    assert message in _refused(root)


def test_a_broken_gloss_stops_and_is_named(root: Path) -> None:
    space = _space(root)
    space["nouns"]["n02374451"] = {"gloss": "horse"}
    (root / "SWiG_jsons" / "imsitu_space.json").write_text(json.dumps(space))
    assert "noun 'n02374451': \"gloss\" is 'horse'; expected a list of words" in _refused(root)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published SWiG vocabulary is not at hand")
def test_the_published_vocabulary_is_read_whole() -> None:
    vocabulary = read_vocabulary(SHARED)
    assert (len(vocabulary.verbs), len(vocabulary.roles), len(vocabulary.nouns)) == (504, 190, 9929)
    assert vocabulary.noun_class("") == 0
    assert vocabulary.frames["jumping"].roles == ("agent", "source", "obstacle", "destination", "place")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published SWiG vocabulary is not at hand")
def test_of_the_published_frames_one_noun_is_outside_the_classes() -> None:
    vocabulary = read_vocabulary(SHARED)
    frames = json.loads((SHARED / "frames_100.json").read_text())
    oov = [
        image
        for image, entry in frames.items()
        for frame in entry["frames"]
        for noun in frame.values()
        if vocabulary.noun_class(noun) == vocabulary.noun_index["oov"]
    ]
    assert oov == ["photographing_16.jpg"]
