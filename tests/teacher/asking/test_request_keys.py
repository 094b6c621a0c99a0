"""A remembered key is given only for the inputs that it was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.keys import fingerprint
from stages.data.sample import Sample
from stages.teacher.asking.request_keys import RequestKeys, task_inputs
from tests.teacher.examples import VOCABULARY, jumping
from tests.teacher.strategies import samples

A, B, KEY, OTHER = (fingerprint(name) for name in ("a", "b", "key", "other"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "request_keys.parquet"


def saved(path: Path, rows: dict[str, tuple[str, str]]) -> RequestKeys:
    keys = RequestKeys(path)
    for image, (inputs, key) in rows.items():
        keys.remember(image, inputs, key)
    keys.save()
    return keys


@given(rows=st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_what_was_remembered_is_found_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("keys") / "request_keys.parquet"
    hexed = {image: (fingerprint(inputs), fingerprint(["key", key])) for image, (inputs, key) in rows.items()}
    before = saved(path, hexed)
    for keys in (before, RequestKeys(path)):
        assert {image: keys.find(image, inputs) for image, (inputs, _) in hexed.items()} == {
            image: key for image, (_, key) in hexed.items()
        }
        assert keys.rebuilt is None
        assert keys.find("never seen", A) is None


def test_other_inputs_find_nothing_and_the_newest_count(path: Path) -> None:
    keys = saved(path, {"1.jpg": (A, KEY)})
    assert keys.find("1.jpg", B) is None
    keys.remember("1.jpg", B, OTHER)
    keys.save()
    for found in (keys, RequestKeys(path)):
        assert found.find("1.jpg", B) == OTHER
        assert found.find("1.jpg", A) is None


def test_workers_add_to_one_file(path: Path) -> None:
    """Both read it before either saves."""
    saved(path, {"old.jpg": (A, KEY), "1.jpg": (A, KEY)})
    first, second = RequestKeys(path), RequestKeys(path)
    first.remember("1.jpg", B, OTHER)
    second.remember("2.jpg", B, OTHER)
    first.save()
    second.save()
    found = RequestKeys(path)
    assert found.find("old.jpg", A) == KEY
    assert found.find("1.jpg", B) == found.find("2.jpg", B) == OTHER


def test_nothing_new_writes_nothing(path: Path) -> None:
    RequestKeys(path).save()
    assert not path.exists()
    keys = saved(path, {"1.jpg": (A, KEY)})
    before = path.stat().st_ino
    keys.save()
    assert path.stat().st_ino == before


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_is_made_again_and_says_so(path: Path, damage: str) -> None:
    saved(path, {"1.jpg": (A, KEY)})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
        reason = "not a readable list of request keys ("
    else:
        pq.write_table(pq.read_table(path).select(["image"]), path)
        reason = "a list of request keys of another version"
    keys = RequestKeys(path)
    assert keys.rebuilt is not None
    assert keys.rebuilt.startswith(f"{path}: {reason}")
    assert keys.rebuilt.endswith("; every key is worked out again")
    assert keys.find("1.jpg", A) is None
    keys.remember("1.jpg", A, OTHER)
    keys.save()
    assert RequestKeys(path).find("1.jpg", A) == OTHER


def test_no_flipped_byte_gives_a_wrong_key(path: Path) -> None:
    saved(path, {f"{n}.jpg": (A, KEY) for n in range(3)})
    data = path.read_bytes()
    for position in range(0, len(data), 5):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        assert RequestKeys(path).find("1.jpg", A) in (KEY, None), position


def test_a_key_that_is_no_fingerprint_is_our_own_fault(path: Path) -> None:
    with pytest.raises(AssertionError):
        RequestKeys(path).remember("1.jpg", A, "ab")


SAMPLE = jumping(boxes={"agent": (1.0, 2.0, 3.0, 4.0)})
CHANGES: dict[str, Any] = {
    "image": "other.jpg",
    "verb": "diving",
    "width": 201,
    "height": 101,
    "roles": ("place", *SAMPLE.roles[1:]),
    "nouns": (("n00000003",) * 3, *SAMPLE.nouns[1:]),
    "boxes": ((1.0, 2.0, 3.0, 5.0), *SAMPLE.boxes[1:]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_an_annotation_changes_the_inputs(name: str) -> None:
    assert task_inputs(A, replace(SAMPLE, **{name: CHANGES[name]}), B, None) != task_inputs(
        A, SAMPLE, B, None
    )


def test_the_picture_and_what_is_alike_for_all_count_too() -> None:
    plain = task_inputs(A, SAMPLE, B, None)
    texts = ("a", "b", "c", "d")
    others = [(B, SAMPLE, B, None), (A, SAMPLE, A, None), (A, SAMPLE, B, texts), (A, SAMPLE, B, texts[::-1])]
    assert len({plain, *(task_inputs(*other) for other in others)}) == 5
    assert task_inputs(A, replace(SAMPLE, captions=texts, split="dev"), B, None) == plain


@given(samples(VOCABULARY), samples(VOCABULARY))
def test_inputs_are_equal_for_equal_annotations_alone(one: Sample, two: Sample) -> None:
    one, two = (replace(sample, captions=None, split="train") for sample in (one, two))
    assert (task_inputs(A, one, B, None) == task_inputs(A, two, B, None)) == (one == two)
