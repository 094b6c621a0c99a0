"""No held-out verb enters training, selection or what training reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.errors import UserError
from cache.manifest import editing
from cache.paths import StorePaths
from cache.rationales import append_rationales
from stages.data.sample import Subset
from stages.student.training.leakage import refuse_leaks
from tests.cache.small_store import PRODUCER, four
from tests.student.store import make_store, sample

SUBSETS: dict[str, Subset] = {"jumping": "seen", "riding": "rare", "sleeping": "unseen"}


def nothing(row: Mapping[str, Any]) -> str | None:
    return None


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    paths = make_store(tmp_path, ("a.jpg",), ("a.jpg",))
    with editing(paths) as cell:
        cell[0] = replace(cell[0], held_out_verbs=("sleeping",))
    return paths


def test_the_proof_says_what_was_looked_at(store: StorePaths) -> None:
    proof = refuse_leaks(store, [sample("a.jpg")], [sample("b.jpg", split="dev")], SUBSETS, nothing)
    assert proof == {
        "held_out_verbs": ["sleeping"],
        "training_pictures": 1,
        "selection_pictures": 1,
        "rationales_checked": 4,
    }


@pytest.mark.parametrize("use", ["training", "selection"])
def test_a_held_out_picture_is_refused(store: StorePaths, use: str) -> None:
    leak = [sample("z.jpg", "sleeping")]
    train, select = (leak, []) if use == "training" else ([], leak)
    with pytest.raises(UserError, match=rf"'z.jpg' of the held-out verb 'sleeping' would enter {use}"):
        refuse_leaks(store, train, select, SUBSETS, nothing)


@pytest.mark.parametrize("place", ["verb", "contrast_verb"])
def test_a_rationale_about_a_held_out_verb_is_refused(store: StorePaths, place: str) -> None:
    append_rationales(store, four("a.jpg", "later", **{place: "sleeping"}), PRODUCER)
    with pytest.raises(UserError, match=r"rationale of picture 'a.jpg' names the held-out verb 'sleeping'"):
        refuse_leaks(store, [sample("a.jpg")], [], SUBSETS, nothing)


def test_a_rationale_that_names_a_held_out_verb_in_passing_is_refused(store: StorePaths) -> None:
    with pytest.raises(UserError, match=r"rationale of picture 'a.jpg' names the held-out verb 'sleeping'"):
        refuse_leaks(store, [sample("a.jpg")], [], SUBSETS, lambda row: "sleeping")


def test_rows_of_pictures_that_are_not_trained_on_do_not_count(store: StorePaths) -> None:
    append_rationales(store, four("b.jpg", verb="sleeping"), PRODUCER)
    assert refuse_leaks(store, [sample("a.jpg")], [], SUBSETS, nothing)["rationales_checked"] == 4


def test_a_store_with_other_held_out_verbs_is_refused(store: StorePaths) -> None:
    with pytest.raises(UserError, match=r"other held-out verbs \(2 differ, e.g. 'riding'\)"):
        refuse_leaks(store, [], [], {"jumping": "seen", "riding": "unseen", "sleeping": "seen"}, nothing)
