"""The nearest pictures and texts of those on the page, from the store's indexes."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import polars as pl

from cache.errors import UserError
from cache.index import Hit, search
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.vectors import PICTURES, RATIONALES, matrix, read_vectors
from stages.printable import printable

OF_PICTURE = 6  # neighbours shown of a picture
OF_TEXT = 3  # and of a text
_OWN = 4  # a picture's own texts may all be among the nearest of one of them

Key = tuple[str, str, str]  # image, aspect, polarity; the last two "" for a picture


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another picture and the cosine similarity to it, or to a text of it of the given kind."""

    image: str
    verb: str
    similarity: float
    kind: str


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Neighbours by what they are near to; where there are none at all, `missing` says why."""

    near: Mapping[Key, tuple[Neighbour, ...]]
    missing: str = ""


def find_neighbours(
    store: StorePaths, family: str, images: Set[str], verb_of: Mapping[str, str]
) -> Neighbours:
    """The neighbours of these pictures (`family` PICTURES) or of their texts (RATIONALES) in the whole store.

    A store without an index, or with one that does not fit its vectors, is no error: the page does without.
    """
    assert family in (PICTURES, RATIONALES)
    count = OF_PICTURE if family == PICTURES else OF_TEXT
    if not load_manifest(store).in_force("vectors", family):
        return Neighbours({}, "the store has no pooled vectors yet; `mipd-pipe embed-teacher` makes them")
    try:
        asked = read_vectors(store, family).filter(pl.col("image").is_in(list(images)))
        if asked.is_empty():
            return Neighbours({}, "the store has no vectors of these pictures")
        hits = search(store, family, matrix(asked["vector"]), count + (1 if family == PICTURES else _OWN))
    except UserError as reason:
        return Neighbours({}, printable(str(reason)))
    keys = asked.select("image", "aspect", "polarity").iter_rows()
    return Neighbours(
        {
            (image, aspect, polarity): _others(found, image, count, verb_of)
            for (image, aspect, polarity), found in zip(keys, hits, strict=True)
        }
    )


def _others(found: list[Hit], image: str, count: int, verb_of: Mapping[str, str]) -> tuple[Neighbour, ...]:
    others = [hit for hit in found if hit.image != image][:count]
    return tuple(
        Neighbour(
            printable(hit.image),
            printable(verb_of.get(hit.image, "")),
            round(hit.similarity, 3),
            f"{hit.polarity} {hit.aspect}".strip(),
        )
        for hit in others
    )
