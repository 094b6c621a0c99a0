import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data.sample import Subset
from stages.student.measuring.metrics import (
    PictureResults,
    harmonic_mean,
    selection_figure,
    summarise,
    verb_means,
)

SUBSET_OF: list[Subset] = ["seen", "seen", "rare", "unseen"]


def results(*pictures: tuple[int, int, list[int], list[int]]) -> PictureResults:
    """Pictures as (verb, rank, nouns right, groundings right), one number per real role."""

    def padded(rows: list[list[int]]) -> np.ndarray:
        return np.array([[bool(x) for x in row] + [False] * (6 - len(row)) for row in rows])

    return PictureResults(
        images=tuple(f"{i}.jpg" for i in range(len(pictures))),
        verb=np.array([verb for verb, *_ in pictures]),
        rank=np.array([rank for _, rank, *_ in pictures]),
        role_mask=padded([[1] * len(nouns) for _, _, nouns, _ in pictures]),
        noun_right=padded([nouns for _, _, nouns, _ in pictures]),
        ground_right=padded([grounds for *_, grounds in pictures]),
    )


# Verb 0: two pictures of two roles. One: verb first, all nouns, one grounding. Two: verb third, one noun.
# Verb 1: one picture, verb sixth, everything else right. Verb 3, unseen: verb first, one noun of two.
BY_HAND = results(
    (0, 0, [1, 1], [1, 0]),
    (0, 2, [1, 0], [0, 0]),
    (1, 5, [1], [1]),
    (3, 0, [1, 0], [1, 0]),
)


def test_figures_worked_out_by_hand() -> None:
    seen = summarise(BY_HAND, SUBSET_OF, "test")["subsets"]["seen"]
    assert (seen["samples"], seen["verbs"]) == (3, 2)
    # Verb 0 then verb 1, each the mean of its pictures; the figure is the mean of the two.
    assert seen["top1"] == {"verb": 25, "value": 25, "value_all": 25, "grnd": 12.5, "grnd_all": 0}
    assert seen["top5"] == {"verb": 50, "value": 37.5, "value_all": 25, "grnd": 12.5, "grnd_all": 0}
    assert seen["gt"] == {"value": 87.5, "value_all": 75, "grnd": 62.5, "grnd_all": 50}


def test_verbs_weigh_the_same_however_many_pictures_they_have() -> None:
    metrics = summarise(BY_HAND, SUBSET_OF, "test")
    assert metrics["subsets"]["all"]["top1"]["verb"] == pytest.approx(100 * (0.5 + 0 + 1) / 3)
    assert metrics["subsets"]["all"]["samples"] == 4


def test_harmonic_mean_is_of_seen_and_unseen() -> None:
    metrics = summarise(BY_HAND, SUBSET_OF, "test")
    assert metrics["harmonic_mean"]["top1"]["verb"] == pytest.approx(2 * 25 * 100 / 125)
    assert metrics["harmonic_mean"]["gt"]["value"] == pytest.approx(2 * 87.5 * 50 / 137.5)
    assert metrics["harmonic_mean"]["gt"]["value_all"] == 0
    assert "verb" not in metrics["harmonic_mean"]["gt"]


def test_subset_without_pictures_is_null_and_never_nan() -> None:
    metrics = summarise(results((0, 0, [1], [1])), SUBSET_OF, "dev")
    unseen = metrics["subsets"]["unseen"]
    assert unseen == {
        "samples": 0,
        "verbs": 0,
        "top1": dict.fromkeys(("verb", "value", "value_all", "grnd", "grnd_all")),
        "top5": dict.fromkeys(("verb", "value", "value_all", "grnd", "grnd_all")),
        "gt": dict.fromkeys(("value", "value_all", "grnd", "grnd_all")),
    }
    assert set(metrics["harmonic_mean"]["top5"].values()) == {None}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_shape_is_that_of_metrics_json() -> None:
    metrics = summarise(BY_HAND, SUBSET_OF, "test")
    assert list(metrics) == ["split", "subsets", "harmonic_mean"]
    assert metrics["split"] == "test"
    assert list(metrics["subsets"]) == ["all", "seen", "rare", "unseen"]


def test_no_pictures_at_all_is_null_everywhere() -> None:
    empty = PictureResults.join([results((0, 0, [1], [1]))])
    none = PictureResults(
        (),
        *(getattr(empty, name)[:0] for name in ("verb", "rank", "role_mask", "noun_right", "ground_right")),
    )
    assert summarise(none, SUBSET_OF, "test")["subsets"]["all"]["top1"]["verb"] is None


def test_join_keeps_every_picture_in_order() -> None:
    joined = PictureResults.join([BY_HAND, results((2, 1, [0], [0]))])
    assert joined.images == ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "0.jpg")
    assert joined.verb.tolist() == [0, 0, 1, 3, 2]
    assert joined.noun_right.shape == (5, 6)


def test_order_of_pictures_does_not_matter() -> None:
    parts = [results((0, 0, [1, 1], [1, 0])), results((3, 0, [1], [1])), results((0, 9, [0, 1], [0, 1]))]
    forward = summarise(PictureResults.join(parts), SUBSET_OF, "test")
    assert summarise(PictureResults.join(parts[::-1]), SUBSET_OF, "test") == forward


@given(st.floats(0, 100), st.floats(0, 100))
def test_harmonic_mean_lies_between_and_is_symmetric(a: float, b: float) -> None:
    mean = harmonic_mean(a, b)
    assert mean is not None
    assert mean == harmonic_mean(b, a)
    assert min(a, b) - 1e-9 <= mean <= max(a, b) + 1e-9 or mean == 0


def test_selection_figure_reads_one_figure_or_the_mean_of_all() -> None:
    metrics = summarise(BY_HAND, SUBSET_OF, "dev")
    assert selection_figure(metrics, "seen", "top1.verb") == 25
    by_hand = (25 + 25 + 25 + 12.5 + 0) + (50 + 37.5 + 25 + 12.5 + 0) + (87.5 + 75 + 62.5 + 50)
    assert selection_figure(metrics, "seen", "mean") == pytest.approx(by_hand / 14)
    assert selection_figure(metrics, "rare", "mean") is None


def test_a_verb_without_pictures_has_no_part_in_the_mean() -> None:
    """Two seen verbs, one of them without pictures: the figure is the other's, not half of it."""
    only = summarise(results((1, 0, [1, 1], [1, 0])), SUBSET_OF, "test")["subsets"]["seen"]
    assert (only["samples"], only["verbs"]) == (1, 1)
    assert only["top1"] == {"verb": 100, "value": 100, "value_all": 100, "grnd": 50, "grnd_all": 0}


def test_means_of_verbs_come_in_the_order_of_their_classes() -> None:
    verbs, counts, means = verb_means(results((3, 0, [1], [0]), (1, 9, [1], [1]), (3, 1, [0], [0])))
    assert (verbs.tolist(), counts.tolist()) == ([1, 3], [1, 2])
    assert means[:, 0].tolist() == [0, 0.5]  # top-1 verb
    assert means[:, 5].tolist() == [0, 1]  # top-5 verb
    assert means[:, -4].tolist() == [1, 0.5]  # value under the given verb
