"""What the page says of each prediction: what the student said beside what the annotators said.

As in `pipeline.report.data`, every text is already safe to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cache.paths import StorePaths
from pipeline.report.choice import choose
from pipeline.report.evidence import Evidence, find_evidence
from stages.data.sample import Box, Sample
from stages.data.swig import DataSet
from stages.data.vocabulary import BLANK
from stages.printable import printable
from stages.student.measuring.per_verb import Confusion, confusions
from stages.student.measuring.prediction_file import PREDICTION_SCHEMA

_WORST = 12  # verbs whose confusion is shown
_AGAIN = "write them again with `mipd-pipe evaluate`"


@dataclass(frozen=True, slots=True)
class RoleSaid:
    """One role of the annotated verb. Nouns by gloss, "" = left unfilled; boxes in picture pixels.

    noun, box        what the student says
    nouns, annotated what the annotators say
    """

    role: str
    noun: str
    right: bool
    box: Box | None
    grounded: bool
    nouns: tuple[str, ...]
    annotated: Box | None


@dataclass(frozen=True, slots=True)
class Said:
    """One prediction.

    rank  of the annotated verb, 0 = first
    top   the most probable verbs with their probabilities
    near  places in `Predictions.evidence.rationales`, each with its similarity, nearest first
    """

    image: str
    verb: str
    subset: str
    width: int
    height: int
    rank: int
    top: tuple[tuple[str, float], ...]
    roles: tuple[RoleSaid, ...]
    near: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions on the page.

    images  the key of each, as the data set writes it
    worst   verbs recognised worst, over all predictions of the run
    total   predictions of the run
    note    why there are none, or none of some; "" where there is nothing to say
    """

    images: tuple[str, ...] = ()
    said: tuple[Said, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    worst: tuple[Confusion, ...] = ()
    total: int = 0
    note: str = ""


def read_predictions(
    path: Path, data: DataSet, rows: pl.DataFrame, store: StorePaths, limit: int
) -> Predictions:
    """The predictions of a run, at most `limit` of them (0 = all), spread over the verbs.

    path   predictions.parquet as `evaluate` writes it
    rows   current rows of the store, with all columns

    A run without a fitting file has a page without predictions, which says why.
    """
    if not path.exists():
        return Predictions(note="there are no predictions yet; `mipd-pipe evaluate` makes them")
    frame = _read(path)
    if frame is None:
        return Predictions(note=f"{printable(str(path))} is damaged or of another version; {_AGAIN}")
    samples = {sample.image: sample for sample in data.split("test")}
    known = frame.filter(
        pl.Series([_fits(samples.get(row[0]), *row[1:]) for row in _keys(frame)], dtype=pl.Boolean)
    )
    gone = frame.height - known.height
    chosen = choose(dict(known.select("image", "verb").iter_rows()), frozenset(), limit)
    row_of = {row["image"]: row for row in known.iter_rows(named=True)}
    evidence = find_evidence(store, [row_of[image] for image in chosen], rows, data)
    return Predictions(
        images=tuple(chosen),
        said=tuple(_said(row_of[image], samples[image], data, evidence) for image in chosen),
        evidence=evidence,
        worst=tuple(confusions(known, data.subset_of)[:_WORST]),
        total=known.height,
        note=f"{gone} predictions are not of the data set as it is now and are left out; {_AGAIN}"
        if gone
        else "",
    )


def _read(path: Path) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(path).select(
            pl.col(name).cast(kind) for name, kind in PREDICTION_SCHEMA.items()
        )
    except (OSError, pl.exceptions.PolarsError):
        return None


def _keys(frame: pl.DataFrame) -> list[tuple[str, str, list[str]]]:
    return frame.select("image", "verb", "roles").rows()


def _fits(sample: Sample | None, verb: str, roles: Sequence[str]) -> bool:
    return sample is not None and sample.verb == verb and list(sample.roles) == list(roles)


def _said(row: Mapping[str, Any], sample: Sample, data: DataSet, evidence: Evidence) -> Said:
    return Said(
        image=printable(sample.image),
        verb=printable(sample.verb),
        subset=data.subset_of[sample.verb],
        width=sample.width,
        height=sample.height,
        rank=row["rank"],
        top=tuple(
            (printable(verb), round(probability, 4))
            for verb, probability in zip(row["top_verbs"], row["top_probabilities"], strict=True)
        ),
        roles=tuple(_role(row, sample, place, data) for place in range(len(sample.roles))),
        near=evidence.near.get(sample.image, ()),
    )


def _role(row: Mapping[str, Any], sample: Sample, place: int, data: DataSet) -> RoleSaid:
    box = row["boxes"][place]
    return RoleSaid(
        role=printable(sample.roles[place]),
        noun=_gloss(row["nouns"][place], data),
        right=row["noun_right"][place],
        box=None if box is None else tuple(round(side, 1) for side in box),
        grounded=row["ground_right"][place],
        nouns=tuple(_gloss(noun, data) for noun in sample.nouns[place]),
        annotated=sample.boxes[place],
    )


def _gloss(noun: str, data: DataSet) -> str:
    return "" if noun in ("", BLANK) else printable(data.vocabulary.gloss(noun))
