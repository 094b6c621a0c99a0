"""What a rationale's row must be like, whoever wrote it: for `verify` and for imports."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from cache.kinds import KINDS

CHECKED = ("image", "aspect", "polarity", "attempt", "status", "text", "score", "request_key")
_KINDS = [f"{kind.aspect} {kind.polarity}" for kind in KINDS]
_STATUS = ["accepted", "rejected"]
# What is wrong, and where; the first that holds is told.
_RULES: tuple[tuple[pl.Expr, str], ...] = (
    (pl.col("image") == "", "has no image"),
    (pl.col("request_key") == "", "has no request key"),
    (
        ~pl.concat_str("aspect", "polarity", separator=" ").is_in(_KINDS),
        "is of no known aspect (glimpse, gaze) and polarity (positive, negative)",
    ),
    (pl.col("attempt") < 0, "has a negative attempt"),
    (~pl.col("status").is_in(_STATUS), "has a status other than accepted and rejected"),
    ((pl.col("status") == "accepted") & (pl.col("text") == ""), "is accepted but has no text"),
    (pl.col("score").is_not_null() & ~pl.col("score").is_between(1, 5), "has a score other than 1 to 5"),
)


def row_faults(frame: pl.DataFrame) -> list[tuple[int, str]]:
    """Number and first fault of each bad row of a frame that has the columns `CHECKED`."""
    fault: pl.Expr = pl.lit(None, pl.String)
    for broken, reason in reversed(_RULES):
        fault = pl.when(broken).then(pl.lit(reason)).otherwise(fault)
    bad = frame.select(row=pl.int_range(pl.len()), fault=fault).drop_nulls("fault")
    return list(bad.iter_rows())


def json_faults(frame: pl.DataFrame) -> list[tuple[int, str]]:
    """Number and fault of each row whose wrong nouns or sampling settings are no JSON objects."""
    found = []
    for row, (nouns, sampling) in enumerate(frame.select("contrast_nouns", "sampling").iter_rows()):
        if not all(isinstance(noun, str) for noun in _object(nouns, {"": None}).values()):
            found.append((row, "has no JSON object of texts in contrast_nouns"))
        if not isinstance(_object(sampling, None), dict):
            found.append((row, "has no JSON object in sampling"))
    return found


def _object(text: str, otherwise: Any) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return otherwise
    return value if isinstance(value, dict) else otherwise
