"""`mipd-pipe inspect duplicates`: rationales of different pictures that say nearly the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cache.errors import UserError
from cache.index import VectorIndex
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.rationales import read_rationales
from cache.vectors import RATIONALES, Floats, NewestVectors, VectorKey
from pipeline.looking.row_filter import check_filters, narrow
from pipeline.result import Result
from pipeline.table import render, shorten
from pipeline.workspace import Workspace

THRESHOLD = 0.98
_NEIGHBOURS = 16  # asked for at first; twice as many while all of them are near enough
_AT_ONCE = 1 << 16  # texts looked up at a time
_COLUMNS = ("image", "verb", "aspect", "polarity", "text")

# Letters' case and white space do not make two texts different.
PLAIN = pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()

Near = dict[int, dict[int, float]]  # wording -> wordings near to it, with their cosine


@dataclass(frozen=True, slots=True)
class Group:
    """Wordings that are near to the first one: their numbers, and their cosines to it."""

    wordings: list[int]
    cosines: list[float]


def duplicates(workspace: Workspace, filters: Mapping[str, str], threshold: float, limit: int) -> Result:
    """Groups of usable rationales of different pictures whose texts are equal or whose vectors are near.

    threshold  least cosine to the group's most frequent wording
    limit      groups shown; 0 = all

    Raises UserError where there is no index or it is stale, and for a threshold that is no cosine.
    """
    store = workspace.store.require()
    check_filters(filters)
    if not 0 < threshold <= 1:
        raise UserError(f"--threshold {threshold} is not a cosine above 0 and up to 1, e.g. {THRESHOLD}")
    rows = narrow(read_rationales(store, _COLUMNS).filter("usable"), filters)
    frame = rows.with_columns(wording=PLAIN.rank("dense") - 1).sort("image", "polarity", "aspect")
    copies = _copies(frame)
    near = find_near(store, frame, threshold)
    groups = [_described(group, copies) for group in gather(near, {w: len(c) for w, c in copies.items()})]
    groups = [group for group in groups if group["pictures"] > 1]
    groups.sort(key=lambda group: (-group["pictures"], group["rationales"][0]["image"]))
    shown = groups[:limit] if limit else groups
    among = sum(len(group["rationales"]) for group in groups)
    data = {"threshold": threshold, "rationales": frame.height, "repeated": among, "groups": shown}
    return Result(_text(data, len(groups)), data)


def count_repeated(usable: pl.DataFrame) -> int:
    """Rationales whose very text another picture has too; `usable` has the columns image and text."""
    pictures = usable.select(pl.col("image").n_unique().over(PLAIN) > 1)
    return int(pictures.to_series().sum())


def _copies(frame: pl.DataFrame) -> dict[int, list[dict[str, Any]]]:
    """Wording -> its rationales, by picture."""
    copies: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in frame.select(*_COLUMNS, "wording").iter_rows(named=True):
        copies[row.pop("wording")].append(row)
    return dict(copies)


def find_near(store: StorePaths, frame: pl.DataFrame, threshold: float) -> Near:
    """By the index, of each wording those at least as near as the threshold.

    frame  columns image, aspect, polarity, wording
    """
    keys = frame.select("image", "aspect", "polarity", "wording").iter_rows()
    wording_of = {VectorKey(*key): wording for *key, wording in keys}
    first = {wording: key.id for key, wording in reversed(wording_of.items())}
    asked = {id_: wording for wording, id_ in first.items()}
    near: Near = {wording: {} for wording in first}
    index = VectorIndex(store, RATIONALES)
    for wordings, vectors in _blocks(store, asked):
        todo, count = np.arange(len(wordings)), _NEIGHBOURS
        while len(todo):
            again = []
            for place, hits in zip(todo, index.search(vectors[todo], count), strict=True):
                mine = wordings[place]
                for hit in hits:
                    other = wording_of.get(VectorKey(hit.image, hit.aspect, hit.polarity), mine)
                    if other != mine and hit.similarity >= threshold:
                        near[mine][other] = near[other][mine] = hit.similarity
                if len(hits) == count and hits[-1].similarity >= threshold:
                    again.append(place)
            todo, count = np.array(again, np.int64), 2 * count
    return near


def _blocks(store: StorePaths, asked: Mapping[int, int]) -> Iterator[tuple[list[int], Floats]]:
    """Wordings and their vectors, so many at a time that looking them up is worth it."""
    newest = NewestVectors(store, RATIONALES, load_manifest(store).in_force("vectors", RATIONALES))
    wordings: list[int] = []
    held: list[Floats] = []
    for ids, vectors in newest.blocks():
        places = [place for place, id_ in enumerate(ids.tolist()) if id_ in asked]
        wordings += [asked[int(ids[place])] for place in places]
        held.append(vectors[places])
        if len(wordings) >= _AT_ONCE:
            yield wordings, np.concatenate(held)
            wordings, held = [], []
    if wordings:
        yield wordings, np.concatenate(held)


def gather(near: Near, copies: Mapping[int, int]) -> list[Group]:
    """Every wording in exactly one group, led by its most frequent wording, to which all others are near.

    Not chained: the second neighbour of a neighbour may say something else.

    near    symmetric
    copies  how often each wording occurs
    """
    groups, taken = [], set[int]()
    for leader in sorted(near, key=lambda wording: (-copies[wording], wording)):
        if leader in taken:
            continue
        others = sorted(other for other in near[leader] if other not in taken)
        taken |= {leader, *others}
        groups.append(Group([leader, *others], [1.0, *(near[leader][other] for other in others)]))
    return groups


def _described(group: Group, copies: Mapping[int, list[dict[str, Any]]]) -> dict[str, Any]:
    rationales = [
        {**row, "similarity": cosine}
        for wording, cosine in zip(group.wordings, group.cosines, strict=True)
        for row in copies[wording]
    ]
    return {
        "pictures": len({row["image"] for row in rationales}),
        "wordings": len(group.wordings),
        "lowest": min(group.cosines),
        "rationales": rationales,
    }


def _text(data: Mapping[str, Any], groups: int) -> str:
    share = data["repeated"] / max(1, data["rationales"])
    head = (
        f"{data['repeated']} of {data['rationales']} rationales ({share:.1%}) are in {groups} groups of "
        f"different pictures with a cosine from {data['threshold']:g}"
    )
    if not groups:
        return head
    cells = [
        [group["pictures"], group["wordings"], group["lowest"], first["image"], shorten(first["text"])]
        for group in data["groups"]
        for first in group["rationales"][:1]
    ]
    lines = [head, "", render(["pictures", "wordings", "lowest", "e.g.", "text"], cells)]
    if len(cells) < groups:
        lines.append(f"{len(cells)} of {groups} groups; see more with --limit")
    return "\n".join(lines)
