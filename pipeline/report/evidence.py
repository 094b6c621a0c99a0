"""The rationales nearest to a prediction: what in the store says the same, and what a judge made of it.

A prediction is turned into text space without a teacher: the mean of the label vector of the verb it ranks
first and that of its nouns, which the same encoder made as the vectors of the rationales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from cache.errors import UserError
from cache.index import Hit, search
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.vectors import RATIONALES, Floats, read_labels
from stages.data.swig import DataSet
from stages.printable import printable

COUNT = 4  # rationales shown of a prediction


@dataclass(frozen=True, slots=True)
class Judged:
    """One rationale of the store with its verdict."""

    image: str
    verb: str
    aspect: str
    polarity: str
    text: str
    status: str
    score: int | None
    judge: str
    reason: str
    attempt: int
    contrast: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """near: image of a prediction -> (place in `rationales`, similarity), nearest first; `missing` says why
    there is none."""

    near: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    rationales: tuple[Judged, ...] = ()
    missing: str = ""


def find_evidence(
    store: StorePaths, predictions: Sequence[Mapping[str, Any]], rows: pl.DataFrame, data: DataSet
) -> Evidence:
    """The nearest rationales of each prediction, given as a row of predictions.parquet.

    rows  current rows of the store, with all columns

    A store without vectors, labels or an index is no error: the page does without and says so.
    """
    if not predictions:
        return Evidence()
    if not load_manifest(store).in_force("vectors", RATIONALES):
        return Evidence(
            missing="the store has no vectors of rationales; `mipd-pipe embed-teacher` makes them"
        )
    try:
        hits = search(store, RATIONALES, _queries(store, predictions), COUNT)
    except UserError as reason:
        return Evidence(missing=printable(str(reason)))
    return _evidence([row["image"] for row in predictions], hits, rows.filter("usable"))


def _queries(store: StorePaths, predictions: Sequence[Mapping[str, Any]]) -> Floats:
    """[B, E]: verb and nouns weigh the same, however many nouns there are."""
    verbs, nouns = _unit_labels(store, "verbs"), _unit_labels(store, "nouns")
    queries = []
    for row in predictions:
        name = row["top_verbs"][0]
        if name not in verbs:
            raise UserError(f"the store has no label vector of {name!r}; `mipd-pipe embed-teacher` makes it")
        verb = verbs[name]
        known = [nouns[noun] for noun in row["nouns"] if noun in nouns]
        queries.append(verb + np.mean(known, axis=0) if known else verb)
    return np.stack(queries)


def _unit_labels(store: StorePaths, family: str) -> dict[str, Floats]:
    labels, vectors = read_labels(store, family)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return dict(zip(labels, unit, strict=True))


def _evidence(images: Sequence[str], hits: Sequence[Sequence[Hit]], usable: pl.DataFrame) -> Evidence:
    """Each rationale once, however many predictions it is near to; one whose row is gone is left out."""
    wanted = {hit.image for found in hits for hit in found}
    texts = {
        (row["image"], row["aspect"], row["polarity"]): row
        for row in usable.filter(pl.col("image").is_in(list(wanted))).iter_rows(named=True)
    }
    places: dict[tuple[str, str, str], int] = {}
    near: dict[str, tuple[tuple[int, float], ...]] = {}
    for image, found in zip(images, hits, strict=True):
        keys = [((hit.image, hit.aspect, hit.polarity), round(hit.similarity, 3)) for hit in found]
        near[image] = tuple(
            (places.setdefault(key, len(places)), similarity) for key, similarity in keys if key in texts
        )
    return Evidence(near, tuple(_judged(texts[key]) for key in places))


def _judged(row: Mapping[str, Any]) -> Judged:
    told = {name: printable(row[name]) for name in ("image", "verb", "text", "status", "judge", "reason")}
    contrast = printable(row["contrast_verb"]) if row["polarity"] == "negative" else ""
    return Judged(
        **told,
        aspect=row["aspect"],
        polarity=row["polarity"],
        score=row["score"],
        attempt=row["attempt"] + 1,
        contrast=contrast,
    )
