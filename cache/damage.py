"""What the loss of a rationale part leaves behind: versions and failures that can no longer be trusted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from cache.kinds import KINDS
from cache.manifest import Manifest, Part, part_tag
from cache.parquet import read_parts
from cache.paths import StorePaths
from cache.rationales import QUARANTINE_SCHEMA, SCHEMA

Version = tuple[str, str]  # image and request key

ASKED = "generate-rationales"  # the stage of failures whose versions are meant here
MERGED = "merged"  # in a part's producer: of how many parts it was made
_VERSION = ["image", "request_key"]
_KIND = ["aspect", "polarity"]


def torn_versions(paths: StorePaths, parts: Sequence[Part]) -> set[Version]:
    """Versions of `parts` whose earlier or middle rows may have been in a lost part.

    A picture that was asked about in several calls has its rows in several parts. What is left of it can
    look finished, or lack a kind, and would never be asked for again. Whole are those that begin at attempt
    0 with all four kinds, have no gap, and tried a kind that was not accepted to the end. An engine that gave
    up may leave such a gap too: of those pictures a few are asked again.
    """
    columns = [*_VERSION, *_KIND, "attempt", "status"]
    rows = _frame(read_parts(paths, parts, SCHEMA, columns))
    kinds = rows.group_by(*_VERSION, *_KIND).agg(
        first=pl.col("attempt").min(),
        last=pl.col("attempt").max(),
        tries=pl.col("attempt").n_unique(),
        accepted=(pl.col("status") == "accepted").any(),
    )
    end = pl.col("last").max().over(_VERSION)
    whole = (pl.col("first") == 0) & (pl.col("tries") == pl.col("last") + 1)
    whole &= pl.col("accepted") | (pl.col("last") == end)
    versions = kinds.with_columns(whole=whole).group_by(_VERSION).agg(pl.len(), pl.col("whole").all())
    return set(versions.filter(~pl.col("whole") | (pl.col("len") < len(KINDS))).select(_VERSION).iter_rows())


def orphaned_failures(
    paths: StorePaths, manifest: Manifest, lost: Collection[str], parts: Sequence[Part]
) -> set[Version]:
    """Failures whose rationales may have been in a lost part: they would keep the picture from being asked.

    lost    paths of the rationale parts that are gone
    parts   the rationale parts that are left
    """
    beside = _written_with(manifest, lost)
    failed = _frame(read_parts(paths, beside, QUARANTINE_SCHEMA, [*_VERSION, "stage"]))
    there = _frame(read_parts(paths, parts, SCHEMA, _VERSION))
    orphans = failed.filter(pl.col("stage") == ASKED).join(there, on=_VERSION, how="anti")
    return set(orphans.select(_VERSION).iter_rows())


def _written_with(manifest: Manifest, lost: Collection[str]) -> list[Part]:
    """Quarantine parts that may tell of pictures of the lost parts.

    A worker writes both of the same pictures, first the rationales: they follow each other among its parts.
    Merged parts have lost that neighbourhood.
    """
    quarantine = [part for part in manifest.of("quarantine") if part.path not in lost]
    merged = [part for part in quarantine if is_merged(part)]
    found = {part.path for part in merged}
    for tag in {part_tag(Path(path)) for path in lost}:
        under = False  # the last rationale part of this worker is a lost one
        for part in manifest.parts:
            if part.kind == "rationales" and part_tag(Path(part.path)) == tag:
                under = part.path in lost
                if under and is_merged(part):
                    return quarantine
            elif part.kind == "quarantine" and under and part_tag(Path(part.path)) == tag:
                found.add(part.path)
    return [part for part in quarantine if part.path in found]


def is_merged(part: Part) -> bool:
    return MERGED in part.producer


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
