"""Hard negatives: for each picture, pictures of other verbs whose rationales read much the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache.index import require_faiss
from cache.paths import StorePaths
from cache.vectors import RATIONALES, Floats, matrix, read_vectors

_QUERIES = 1024  # searched at once, so that the table of hits stays small


def mine_negatives(paths: StorePaths, group_of: Mapping[str, str], count: int) -> dict[str, list[str]]:
    """Picture -> the `count` pictures of other groups whose positive glimpse is nearest to its own, in order.

    group_of  the group (verb) of every picture that may be asked about and found: the training pictures

    A picture without a positive glimpse is neither asked about nor found. Raises UserError without FAISS.
    """
    frame = read_vectors(paths, RATIONALES).filter(
        (pl.col("aspect") == "glimpse")
        & (pl.col("polarity") == "positive")
        & pl.col("image").is_in(list(group_of))
    )
    images = frame["image"].to_list()
    if not images:
        return {}
    rows = nearest_of_others(matrix(frame["vector"]), [group_of[image] for image in images], count)
    return {
        image: [images[row] for row in found if row >= 0] for image, found in zip(images, rows, strict=True)
    }


def nearest_of_others(vectors: Floats, groups: Sequence[str], count: int) -> NDArray[np.int64]:
    """[N, E] and N groups -> [N, count] rows by falling cosine, none of the own group; -1 where too few.

    A pure function: the same vectors and groups give the same rows.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    unit = np.ascontiguousarray(unit, dtype=np.float32)
    index = require_faiss().IndexFlatIP(unit.shape[1])
    index.add(unit)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    # Enough that all of the own group may come first.
    searched = min(len(unit), count + int(np.bincount(group).max()))
    found = np.full((len(unit), count), -1, dtype=np.int64)
    for start in range(0, len(unit), _QUERIES):
        _, hits = index.search(unit[start : start + _QUERIES], searched)
        for row, near in enumerate(hits, start):
            others = near[group[near] != group[row]][:count]
            found[row, : len(others)] = others
    return found
