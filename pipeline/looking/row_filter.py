"""Which rows `mipd-pipe inspect rows` shows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import polars as pl

from cache.errors import UserError
from stages.data.names import short
from stages.data.sample import SPLITS

FAILED = "failed"  # the status of what is in quarantine
_ALLOWED = {
    "status": ("accepted", "rejected", FAILED),
    "aspect": ("glimpse", "gaze"),
    "polarity": ("positive", "negative"),
    "split": SPLITS,
}
_SCORE = re.compile(r"([1-5])(?:-([1-5]))?")
_NEAREST = 3  # verbs that are suggested for one that no row has


def check_filters(filters: Mapping[str, str]) -> None:
    """Raises UserError for a value that no row could have, before anything is read."""
    for name, values in _ALLOWED.items():
        if name in filters and filters[name] not in values:
            raise UserError(f"--{name} {filters[name]!r} is not one of {', '.join(values)}")
    if "score" in filters:
        _scores(filters["score"])
    if filters.get("status") == FAILED and (odd := sorted(filters.keys() - {"status", "image"})):
        raise UserError(
            f"--{odd[0]} does not go with --status failed, because what failed has no rationale; "
            "filter by --image"
        )


def narrow(rows: pl.DataFrame, filters: Mapping[str, str]) -> pl.DataFrame:
    """The rows that meet every filter. Raises UserError for a verb that no row has, naming the nearest."""
    if "verb" in filters:
        _require_verb(rows, filters["verb"])
    for name, value in filters.items():
        rows = rows.filter(_scores(value) if name == "score" else pl.col(name) == value)
    return rows


def _scores(asked: str) -> pl.Expr:
    """``4``, ``1-3`` or ``none``."""
    if asked == "none":
        return pl.col("score").is_null()
    found = _SCORE.fullmatch(asked)
    if not found or (found[2] and found[2] < found[1]):
        raise UserError(
            f"--score {short(asked)} is neither a number of points from 1 to 5, nor a range such as 1-3, nor "
            "none, which stands for rows that only rules judged"
        )
    return pl.col("score").is_between(int(found[1]), int(found[2] or found[1]))


def _require_verb(rows: pl.DataFrame, verb: str) -> None:
    known = rows["verb"].unique().sort().to_list()
    if verb in known:
        return
    # A name of a verb is short; comparing a megabyte of text would take minutes.
    near = difflib.get_close_matches(verb[:100], known, n=_NEAREST)
    hint = f"; the nearest: {', '.join(map(repr, near))}" if near else ""
    raise UserError(
        f"--verb {short(verb)}: the store has no rationale of that verb; {len(known)} verbs have some{hint}"
    )
