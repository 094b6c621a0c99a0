from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.data.entry import EntryReader, check_image_name
from stages.data.json_file import read_json_object
from stages.data.problem import EntryError
from stages.data.vocabulary_files import read_vocabulary

Entry = dict[str, Any]
IMAGE = "jumping_train0.jpg"


@pytest.fixture
def reader(root: Path) -> EntryReader:
    return EntryReader(read_vocabulary(root / "SWiG_jsons"))


@pytest.fixture
def entry(root: Path) -> Entry:
    """Of jumping: an agent with the box 1 2 30 40, and an obstacle that is not filled."""
    found: Entry = json.loads((root / "SWiG_jsons" / "train.json").read_text())[IMAGE]
    return found


def test_a_good_entry_becomes_a_sample_in_the_roles_order(reader: EntryReader, entry: Entry) -> None:
    entry["frames"][1] = {"obstacle": "n03327234", "agent": "n10287213"}
    sample, notes = reader.read(IMAGE, entry, "dev")
    assert (sample.image, sample.split, sample.verb, sample.width, sample.height) == (
        IMAGE, "dev", "jumping", 64, 48,
    )  # fmt: skip
    assert sample.roles == ("agent", "obstacle")
    assert sample.nouns == (("n02374451", "n10287213", "n02374451"), ("", "n03327234", ""))
    assert sample.boxes == ((1.0, 2.0, 30.0, 40.0), None)
    assert sample.captions is None
    assert notes == []


def _change(**changes: object) -> Callable[[Entry], object]:
    return lambda entry: {**entry, **changes}


def _without(key: str) -> Callable[[Entry], object]:
    return lambda entry: {name: value for name, value in entry.items() if name != key}


def _box(role: str, box: object) -> Callable[[Entry], object]:
    return lambda entry: {**entry, "bb": {**entry["bb"], role: box}}


def _noun(role: str, noun: object) -> Callable[[Entry], object]:
    return lambda entry: {**entry, "frames": [*entry["frames"][:2], {**entry["frames"][2], role: noun}]}


BAD = [
    (_without("bb"), "lacks the key 'bb'; an entry has verb, height, width, bb, frames"),
    (_without("verb"), "lacks the key 'verb'"),
    (lambda _: ["jumping"], "entry is ['jumping']; expected an object with verb, height, width, bb, frames"),
    (
        _change(verb="jumpin"),
        "verb 'jumpin' is not one of the 4 verbs of verb_indices.txt; the nearest known is 'jumping'",
    ),
    (_change(verb=7), "verb 7 is not a name but a int"),
    (_change(verb=None), "verb None is not a name but a NoneType"),
    (_change(width=64.5), "width 64.5 is not a whole number of pixels from 1 to 10000000"),
    (_change(height=0), "height 0 is not a whole number of pixels from 1 to 10000000"),
    (_change(height=-48), "height -48 is not a whole number of pixels"),
    (_change(width="64"), "width '64' is not a whole number of pixels"),
    (_change(width=True), "width True is not a whole number of pixels"),
    (
        _box("obstacl", [1, 2, 3, 4]),
        "bb: unknown role 'obstacl'; the verb 'jumping' has agent, obstacle; the nearest known is 'obstacle'",
    ),
    (
        _change(bb={"agent": [1, 2, 3, 4]}),
        "bb: lacks the role 'obstacle'; the verb 'jumping' has agent, obstacle",
    ),
    (_change(bb=[[1, 2, 3, 4]] * 2), "bb is [[1, 2, 3, 4], [1, 2, 3, 4]]; expected an object with the roles"),
    (_box("agent", [30, 2, 1, 40]), "role 'agent': box [30, 2, 1, 40] is inverted"),
    (_box("agent", [70, 2, 90, 40]), "role 'agent': box [70, 2, 90, 40] lies wholly outside the picture"),
    (
        _noun("tool", "n02374451"),
        "frame 3: unknown role 'tool'; the verb 'jumping' has agent, obstacle",
    ),
    (_change(frames=[{"agent": ""}] * 3), "frame 1: lacks the role 'obstacle'"),
    (_change(frames=[]), '"frames" is 0 frames; expected a list of 3, one per annotator'),
    (_change(frames={"agent": ""}), "\"frames\" is {'agent': ''}; expected a list of 3"),
    (_change(frames=["", "", ""]), "frame 1 is ''; expected an object with the roles agent, obstacle"),
    (
        _noun("agent", "horse"),
        "noun 'horse' of the role 'agent' is no WordNet id such as 'n02374451' "
        "(or '' for a role that is not filled)",
    ),
    (_noun("agent", "oov"), "noun 'oov' of the role 'agent' is no WordNet id"),
    (_noun("agent", "n0237445"), "noun 'n0237445' of the role 'agent' is no WordNet id"),
    (_noun("agent", "n02374451x"), "noun 'n02374451x' of the role 'agent' is no WordNet id"),
    (_noun("agent", "n\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667"), "is no WordNet id"),
    (_noun("agent", None), "noun None of the role 'agent' is no WordNet id"),
    (_noun("agent", ["n02374451"]), "noun ['n02374451'] of the role 'agent' is no WordNet id"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_entry_is_refused_with_its_reason(
    reader: EntryReader, entry: Entry, change: Callable[[Entry], object], message: str
) -> None:
    with pytest.raises(EntryError) as caught:
        reader.read(IMAGE, change(entry), "train")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("../secret.jpg", "image name '../secret.jpg' has a path in it; expected a plain file name"),
        ("/etc/passwd", "image name '/etc/passwd' has a path in it"),
        ("a\\b.jpg", r"image name 'a\\b.jpg' has a path in it"),
        ("..", "image name '..' has a path in it"),
        ("", "image name '' is empty"),
        ("  ", "image name '  ' is empty"),
        ("a\x1b[2Jb.jpg", r"image name 'a\x1b[2Jb.jpg' has characters that cannot be printed"),
        ("a\0.jpg", r"image name 'a\x00.jpg' has characters that cannot be printed"),
        ("\ud800.jpg", "has characters that cannot be printed"),
        ("é" * 128, "has 256 bytes; at most 255 fit a file name"),
    ],
)
def test_an_image_name_that_is_no_plain_file_name_is_refused(image: str, message: str) -> None:
    with pytest.raises(EntryError) as caught:
        check_image_name(image)
    assert message in str(caught.value)


def test_ordinary_image_names_pass() -> None:
    for image in ("jumping_10.jpg", "..a.jpg", "a b.png", "é" * 127):
        check_image_name(image)


def test_a_key_that_stands_twice_in_an_entry_is_refused(
    reader: EntryReader, entry: Entry, tmp_path: Path
) -> None:
    text = json.dumps({IMAGE: entry})
    for found, twice, message in (
        ('"width": 64', '"width": 64, "width": 65', "the key 'width' stands twice in the entry"),
        ('"obstacle": ""', '"obstacle": "", "obstacle": ""', "frame 1: the role 'obstacle' stands twice"),
    ):
        path = tmp_path / "twice.json"
        path.write_text(text.replace(found, twice, 1))
        with pytest.raises(EntryError) as caught:
            reader.read(IMAGE, read_json_object(path, "entries")[IMAGE], "train")
        assert message in str(caught.value)


def test_a_box_partly_outside_is_clipped_and_noted(reader: EntryReader, entry: Entry) -> None:
    entry["bb"]["agent"] = [-5, 2, 30, 400]
    sample, notes = reader.read(IMAGE, entry, "train")
    assert sample.boxes[0] == (0.0, 2.0, 30.0, 48.0)
    assert notes == [
        "role 'agent': box [-5, 2, 30, 400] lies partly outside the picture of 64 x 48 pixels; clipped to it"
    ]


def test_captions_come_in_the_order_of_the_kinds(reader: EntryReader, entry: Entry) -> None:
    entry |= {
        "neg_attr_caption": "gaze-",
        "pos_attr_caption": "gaze+",
        "neg_verb_caption": "glimpse-",
        "pos_verb_caption": " glimpse+\n",
    }
    sample, notes = reader.read(IMAGE, entry, "train")
    assert sample.captions == ("glimpse+", "glimpse-", "gaze+", "gaze-")
    assert notes == []


def test_an_absent_caption_is_empty_and_a_damaged_one_is_left_out(reader: EntryReader, entry: Entry) -> None:
    entry |= {
        "pos_verb_caption": "A horse jumps.",
        "neg_verb_caption": ["A horse."],
        "pos_attr_caption": "\ud800",
    }
    sample, notes = reader.read(IMAGE, entry, "train")
    assert sample.captions == ("A horse jumps.", "", "", "")
    assert notes == [
        "neg_verb_caption ['A horse.'] is not text; left out",
        r"pos_attr_caption '\ud800' is not text; left out",
    ]


def test_equal_nouns_are_kept_once(reader: EntryReader, entry: Entry) -> None:
    copies = [json.loads(json.dumps(entry)) for _ in range(2)]
    first, second = (reader.read(IMAGE, copy, "train")[0].nouns[0][0] for copy in copies)
    assert first is second
