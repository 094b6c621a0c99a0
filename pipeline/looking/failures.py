"""What is in quarantine, and what of it was mended since: one rule for everything that shows it."""

from __future__ import annotations

import polars as pl

from cache.kinds import KINDS
from cache.paths import StorePaths
from cache.rationales import read_quarantine, read_rationales
from cache.vectors import PICTURES, read_vectors

EMBEDDING = "embed-teacher"


def read_failures(paths: StorePaths) -> pl.DataFrame:
    """The newest failure of each (image, stage), with one more column.

    mended   a picture that could not be embedded has vectors now; any other has rationales now, and no
             failure of one of its own rationales stands: there is a later attempt, or all are accepted
    """
    failed = read_quarantine(paths)
    if failed.is_empty():
        return failed.with_columns(mended=pl.lit(False))
    columns = ["image", "request_key", "aspect", "polarity", "attempt", "status"]
    rows = read_rationales(paths, columns).filter("current")
    accepted = pl.struct("aspect", "polarity").filter(pl.col("status") == "accepted").n_unique()
    now = rows.group_by("image").agg(
        newest_key=pl.col("request_key").last(), asked=pl.col("attempt").max() + 1, accepted=accepted
    )
    embedded = read_vectors(paths, PICTURES, with_vectors=False)["image"].unique()
    same = pl.col("request_key") == pl.col("newest_key")
    lost_one = same & (pl.col("attempts") >= pl.col("asked")) & (pl.col("accepted") < len(KINDS))
    mended = (
        pl.when(pl.col("stage") == EMBEDDING)
        .then(pl.col("image").is_in(embedded.implode()))
        .otherwise(pl.col("newest_key").is_not_null() & ~lost_one.fill_null(False))
    )
    found = failed.join(now, on="image", how="left", maintain_order="left")
    return found.with_columns(mended=mended).select(*failed.columns, "mended")
