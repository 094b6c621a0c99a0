"""The columns of predictions.parquet: one row per picture.

Roles, nouns and boxes are those of the annotated verb, which is what SWiG's figures compare, also where
another verb is ranked first.
"""

from __future__ import annotations

import polars as pl

PREDICTION_SCHEMA: dict[str, pl.DataType] = {
    "image": pl.String(),
    "split": pl.String(),
    "verb": pl.String(),  # the annotated one
    "rank": pl.Int32(),  # of that among all verbs, 0 = first; a tie counts against it
    "top_verbs": pl.List(pl.String),  # the five most probable, the annotated one last among equals
    "top_probabilities": pl.List(pl.Float32),
    "roles": pl.List(pl.String),
    "nouns": pl.List(pl.String),  # classes: WordNet ids, and `blank` for a role that is not filled
    "noun_right": pl.List(pl.Boolean),  # an annotator gave this noun
    "boxes": pl.List(pl.List(pl.Float32)),  # x1 y1 x2 y2 in pixels; null where the student says none
    "ground_right": pl.List(pl.Boolean),  # noun and box right, or rightly no box
}
