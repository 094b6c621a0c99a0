"""Predictions as `evaluate` writes them, of which one is known to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from pipeline.config import Config
from pipeline.workspace import Workspace
from stages.data.sample import Sample
from stages.student.measuring.prediction_file import PREDICTION_SCHEMA


def prediction(sample: Sample, top: Sequence[str], right: bool) -> dict[str, Any]:
    """A row as `evaluate` writes it: the first role's noun and box are right or wrong, the others blank."""
    roles, rank = len(sample.roles), list(top).index(sample.verb)
    return {
        "image": sample.image,
        "split": "test",
        "verb": sample.verb,
        "rank": rank,
        "top_verbs": list(top),
        "top_probabilities": [0.5 / (place + 1) for place in range(len(top))],
        "roles": list(sample.roles),
        "nouns": [sample.nouns[0][0] if right else "blank", *["blank"] * (roles - 1)],
        "noun_right": [right, *[False] * (roles - 1)],
        "boxes": [sample.boxes[0], *[None] * (roles - 1)],
        "ground_right": [right, *[False] * (roles - 1)],
    }


def write_predictions(config: Config) -> tuple[Sample, Sample, Sample]:
    """Every test picture is recognised but one of an unseen verb, which is taken for a training picture's
    that has no part in common with it.

    Returns a sample that is right, the wrong one, and that training picture.
    """
    data = Workspace(config).data
    samples = data.split("test")
    rows = []
    wrong = next(s for s in samples if data.subset_of[s.verb] == "unseen")
    parts = set(wrong.verb.split("-"))
    other = next(s for s in data.split("train") if parts.isdisjoint(s.verb.split("-")))
    for sample in samples:
        if sample is wrong:
            rows.append(prediction(sample, [other.verb, sample.verb], False))
        else:
            spare = next(verb for verb in data.vocabulary.verbs if verb != sample.verb)
            rows.append(prediction(sample, [sample.verb, spare], True))
    frame = pl.DataFrame(rows, schema=PREDICTION_SCHEMA)
    frame.write_parquet(config.run_dir / "predictions.parquet")
    return next(s for s in samples if s is not wrong), wrong, other
