"""What pictures that a teacher has answered for tell about the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from cache.kinds import KINDS
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.rationales import read_rationales
from pipeline.forecast.spread import Spread

LEAST_ROWS = 50  # fewer say too little

_PICTURE = ["image", "request_key"]
_COLUMNS = [
    *_PICTURE,
    "aspect",
    "polarity",
    "attempt",
    "teacher",
    "revision",
    "seed",
    "tokens_in",
    "tokens_out",
]


@dataclass(frozen=True, slots=True)
class Experience:
    """What one teacher's rows show.

    basis        where it comes from, for a person: "measured on 1200 rows"
    attempts     per picture
    rows         per picture: one per rationale and attempt
    tokens_in    per request that asks for rationales; None where requests were of the other mode
    tokens_out   likewise
    row_bytes    on disk, per row; None where no part tells
    complete     share of pictures whose four rationales were accepted
    """

    basis: str
    attempts: Spread
    rows: Spread
    tokens_in: Spread | None
    tokens_out: Spread | None
    row_bytes: Spread | None
    complete: float


def read_experience(
    paths: StorePaths,
    identity: Mapping[str, Any],
    together: bool,
    least: int = LEAST_ROWS,
    verb: str = "measured",
) -> Experience | None:
    """What the store's rows of one teacher show; None where there are fewer than `least`.

    identity   of the engine that writes
    together   whether all rationales of a picture are asked for in one request
    """
    everybody = read_rationales(paths, [*_COLUMNS, "status"])
    teacher = {"teacher": identity["teacher"], "revision": identity["revision"]}
    frame = everybody.filter(*(pl.col(name) == value for name, value in teacher.items()))
    if frame.height < max(1, least):
        return None
    # A picture that went back to an earlier version has its rows twice.
    frame = frame.unique([*_PICTURE, "aspect", "polarity", "attempt"], keep="last")
    accepted = (pl.col("status") == "accepted").sum()
    pictures = frame.group_by(_PICTURE).agg(pl.col("attempt").max() + 1, rows=pl.len(), accepted=accepted)
    first = frame.filter(pl.col("attempt") == 0).group_by([*_PICTURE, "seed"])
    requests = first.agg(pl.len(), pl.col("tokens_in", "tokens_out").first())
    requests = requests.filter((pl.col("len") > 1) == together)
    return Experience(
        basis=f"{verb} on {frame.height} rows of {pictures.height} pictures",
        attempts=Spread.of(pictures["attempt"]),
        rows=Spread.of(pictures["rows"]),
        tokens_in=Spread.of(requests["tokens_in"]) if requests.height else None,
        tokens_out=Spread.of(requests["tokens_out"]) if requests.height else None,
        row_bytes=_row_bytes(paths),
        complete=float((pictures["accepted"] >= len(KINDS)).mean() or 0.0),  # type: ignore[arg-type]
    )


def _row_bytes(paths: StorePaths) -> Spread | None:
    """Of files long enough that their fixed part does not count, else of all."""
    parts = [part for part in load_manifest(paths).of("rationales") if part.rows]
    long = [part for part in parts if part.rows >= LEAST_ROWS] or parts
    return Spread.of([part.bytes / part.rows for part in long]) if long else None
