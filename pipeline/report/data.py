"""What the page says of each picture, as plain records. Every text is already safe to look at.

Names and texts pass through `printable` here, once: control characters, and characters that turn the
direction of text, arrive in the page as visible escapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import polars as pl

from cache.kinds import KINDS, Kind
from pipeline.report.neighbours import Key, Neighbour
from stages.data.sample import Box, Sample
from stages.data.swig import DataSet
from stages.printable import printable


@dataclass(frozen=True, slots=True)
class Role:
    """One role: the annotators' nouns by gloss ("" = left unfilled), and its box in picture pixels."""

    role: str
    nouns: tuple[str, ...]
    box: Box | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One rationale as it was written, and what became of it."""

    number: int
    text: str
    status: str
    usable: bool
    score: int | None
    judge: str
    reason: str
    contrast: str
    teacher: str
    prompt: str
    tokens_in: int
    tokens_out: int
    seconds: float
    finish: str


@dataclass(frozen=True, slots=True)
class Rationale:
    """One of the four kinds: its attempts, oldest first, and the texts of other pictures nearest to it."""

    aspect: str
    polarity: str
    attempts: tuple[Attempt, ...]
    near: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage gave a picture up.

    raw       the answer it got, where it got one
    resolved  the stage has done this picture since
    """

    stage: str
    reason: str
    attempts: int
    raw: str
    resolved: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the gallery; width and height are 0 where the data set does not know it."""

    image: str
    verb: str
    split: str
    subset: str
    width: int
    height: int
    roles: tuple[Role, ...]
    rationales: tuple[Rationale, ...]
    failures: tuple[Failure, ...]
    near: tuple[Neighbour, ...]


def gather(
    images: Sequence[str],
    rows: pl.DataFrame,
    failures: pl.DataFrame,
    data: DataSet,
    embedded: Set[str],
    near: Mapping[Key, tuple[Neighbour, ...]],
) -> list[Picture]:
    """The given pictures, in their order.

    rows      current rows of the store, with all columns
    failures  rows of the quarantine
    embedded  images with a pooled vector
    near      neighbours of pictures and of texts
    """
    samples = {sample.image: sample for sample in data.samples}
    rows_of = _by_image(rows, images)
    failures_of = _by_image(failures, images)

    def failures_told(image: str) -> tuple[Failure, ...]:
        done = {"embed-teacher": image in embedded}
        return tuple(
            _failure(row, done.get(row["stage"], image in rows_of)) for row in failures_of.get(image, [])
        )

    return [
        _picture(image, samples.get(image), rows_of.get(image, []), failures_told(image), data, near)
        for image in images
    ]


def _by_image(frame: pl.DataFrame, images: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in frame.filter(pl.col("image").is_in(list(images))).iter_rows(named=True):
        found.setdefault(row["image"], []).append(row)
    return found


def _picture(
    image: str,
    sample: Sample | None,
    rows: list[dict[str, Any]],
    failures: tuple[Failure, ...],
    data: DataSet,
    near: Mapping[Key, tuple[Neighbour, ...]],
) -> Picture:
    """What the annotation says goes before what the rows say of verb and split: rows may be older."""
    verb = sample.verb if sample else rows[0]["verb"] if rows else ""
    return Picture(
        image=printable(image),
        verb=printable(verb),
        split=sample.split if sample else printable(rows[0]["split"]) if rows else "",
        subset=data.subset_of.get(verb, ""),
        width=sample.width if sample else 0,
        height=sample.height if sample else 0,
        roles=_roles(sample, data) if sample else (),
        rationales=tuple(_rationale(image, kind, rows, data, near) for kind in KINDS) if rows else (),
        failures=failures,
        near=near.get((image, "", ""), ()),
    )


def _roles(sample: Sample, data: DataSet) -> tuple[Role, ...]:
    return tuple(
        Role(printable(role), tuple(_gloss(noun, data) for noun in nouns), box)
        for role, nouns, box in zip(sample.roles, sample.nouns, sample.boxes, strict=True)
    )


def _gloss(noun: str, data: DataSet) -> str:
    return printable(data.vocabulary.gloss(noun)) if noun else ""


def _rationale(
    image: str,
    kind: Kind,
    rows: list[dict[str, Any]],
    data: DataSet,
    near: Mapping[Key, tuple[Neighbour, ...]],
) -> Rationale:
    own = [row for row in rows if (row["aspect"], row["polarity"]) == kind]
    own.sort(key=lambda row: row["attempt"])
    return Rationale(
        kind.aspect,
        kind.polarity,
        tuple(_attempt(row, data) for row in own),
        near.get((image, kind.aspect, kind.polarity), ()),
    )


def _attempt(row: Mapping[str, Any], data: DataSet) -> Attempt:
    return Attempt(
        number=row["attempt"] + 1,
        text=printable(row["text"]),
        status=printable(row["status"]),
        usable=row["usable"],
        score=row["score"],
        judge=printable(row["judge"]),
        reason=printable(row["reason"]),
        contrast=_contrast(row, data),
        teacher=printable(" ".join(filter(None, (row["teacher"], row["revision"])))),
        prompt=printable(row["prompt_id"]),
        tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"],
        seconds=round(row["seconds"], 2),
        finish=printable(row["finish_reason"]),
    )


def _contrast(row: Mapping[str, Any], data: DataSet) -> str:
    """What a negative was asked to describe, e.g. ``riding: agent woman, vehicle bicycle``."""
    if row["polarity"] != "negative" or not row["contrast_verb"]:
        return ""
    nouns = json.loads(row["contrast_nouns"])
    told = ", ".join(f"{role} {_gloss(str(noun), data)}" for role, noun in nouns.items() if noun)
    return printable(f"{row['contrast_verb']}{': ' + told if told else ''}")


def _failure(row: Mapping[str, Any], resolved: bool) -> Failure:
    told = [printable(row[name]) for name in ("stage", "reason", "raw")]
    return Failure(told[0], told[1], row["attempts"], told[2], resolved)
