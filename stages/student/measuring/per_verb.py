"""Verb by verb: every figure of each, and which verbs it is taken for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from stages.data.sample import Subset
from stages.student.measuring.metrics import SETTINGS, PictureResults, verb_means


@dataclass(frozen=True, slots=True)
class Confusion:
    """What one verb was taken for.

    pictures   of this verb; `right` of them were recognised
    taken_for  the others by the verb that was ranked first, the most frequent first
    """

    verb: str
    subset: Subset
    pictures: int
    right: int
    taken_for: dict[str, int]


def per_verb(results: PictureResults, verbs: Sequence[str], subset_of: Sequence[Subset]) -> pl.DataFrame:
    """One row for each verb that has pictures, in the vocabulary's order: figures in percent.

    verbs      names of the verb classes
    subset_of  for each verb class, the subset it belongs to
    """
    numbers, counts, means = verb_means(results)
    names = [f"{setting}_{name}" for setting, figures in SETTINGS.items() for name in figures]
    columns = {
        "verb": [verbs[number] for number in numbers],
        "subset": [subset_of[number] for number in numbers],
        "pictures": counts,
    }
    return pl.DataFrame({**columns, **{name: 100 * means[:, i] for i, name in enumerate(names)}})


def confusions(predictions: pl.DataFrame, subset_of: Mapping[str, Subset]) -> list[Confusion]:
    """Every verb that was ever missed: the lowest share right first, among equals the most pictures.

    predictions  rows of `stages.student.measuring.prediction_file`
    """
    pictures: Counter[str] = Counter()
    taken: dict[str, Counter[str]] = {}
    for verb, rank, top in predictions.select("verb", "rank", "top_verbs").iter_rows():
        pictures[verb] += 1
        assert (rank == 0) == (top[0] == verb), "a tie counts against the student in both"
        if rank:
            taken.setdefault(verb, Counter())[top[0]] += 1
    found = [
        Confusion(
            verb=verb,
            subset=subset_of[verb],
            pictures=pictures[verb],
            right=pictures[verb] - others.total(),
            taken_for=dict(sorted(others.items(), key=lambda item: (-item[1], item[0]))),
        )
        for verb, others in taken.items()
    ]
    return sorted(found, key=lambda one: (one.right / one.pictures, -one.pictures, one.verb))
