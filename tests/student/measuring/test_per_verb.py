"""Figures of single verbs and what they are taken for, worked out by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from stages.data.sample import Subset
from stages.student.measuring.metrics import PictureResults, summarise
from stages.student.measuring.per_verb import Confusion, confusions, per_verb

VERBS = ("jumping", "riding", "sleeping", "waving")
SUBSET_OF: list[Subset] = ["seen", "seen", "rare", "unseen"]
# Jumping: right once, taken for riding twice and for waving once. Riding: right. Waving: taken for riding.
SAID = ["jumping", "riding", "waving", "riding", "riding", "riding"]
SUBSETS = dict(zip(VERBS, SUBSET_OF, strict=True))
RESULTS = PictureResults(
    images=tuple("abcdef"),
    verb=np.array([0, 0, 0, 0, 1, 3]),
    rank=np.array([0, 1, 5, 2, 0, 1]),
    role_mask=np.array([[True, True]] * 6),
    noun_right=np.array([[1, 1], [1, 0], [0, 0], [1, 1], [1, 1], [1, 0]], dtype=bool),
    ground_right=np.array([[1, 0], [1, 0], [0, 0], [0, 1], [1, 1], [0, 0]], dtype=bool),
)


def test_each_verb_that_has_pictures_has_its_figures() -> None:
    frame = per_verb(RESULTS, VERBS, SUBSET_OF)
    assert frame.select("verb", "subset", "pictures").rows() == [
        ("jumping", "seen", 4),
        ("riding", "seen", 1),
        ("waving", "unseen", 1),
    ]
    jumping = frame.row(0, named=True)
    assert jumping["top1_verb"] == 25
    assert jumping["top5_verb"] == 75
    assert jumping["top1_value"] == 25
    assert jumping["top5_value"] == 100 * (1 + 0.5 + 1) / 4
    assert jumping["gt_value_all"] == 50
    assert jumping["gt_grnd"] == 100 * (0.5 + 0.5 + 0 + 0.5) / 4
    assert len(frame.columns) == 3 + 14


def test_the_mean_over_verbs_is_the_figure_of_the_run() -> None:
    figures = summarise(RESULTS, SUBSET_OF, "test")["subsets"]
    frame = per_verb(RESULTS, VERBS, SUBSET_OF)
    assert frame["gt_grnd"].mean() == pytest.approx(figures["all"]["gt"]["grnd"])
    assert frame.filter(frame["subset"] == "unseen")["gt_value"].to_list() == [
        figures["unseen"]["gt"]["value"]
    ]


def predictions(verbs: list[str], said: list[str]) -> pl.DataFrame:
    rank = [int(verb != other) for verb, other in zip(verbs, said, strict=True)]
    return pl.DataFrame({"verb": verbs, "rank": rank, "top_verbs": [[other] for other in said]})


def test_confusions_name_the_worst_verb_first_and_count_what_it_is_taken_for() -> None:
    found = confusions(predictions([*["jumping"] * 4, "riding", "waving"], SAID), SUBSETS)
    assert found == [
        Confusion("waving", "unseen", 1, 0, {"riding": 1}),
        Confusion("jumping", "seen", 4, 1, {"riding": 2, "waving": 1}),
    ]
    assert list(found[1].taken_for) == ["riding", "waving"], "the most frequent first"


def test_of_two_verbs_never_right_the_one_with_more_pictures_comes_first() -> None:
    three = predictions(["jumping", "riding", "riding"], ["waving", "sleeping", "jumping"])
    assert [(one.verb, one.taken_for) for one in confusions(three, SUBSETS)] == [
        ("riding", {"jumping": 1, "sleeping": 1}),
        ("jumping", {"waving": 1}),
    ]
