"""Bootstrap intervals: how far the figures would move with other pictures of the same kind.

Axes: D draws, M pictures, U verbs that have pictures, 14 figures in the order of `metrics.SETTINGS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.batches import batches
from stages.data.sample import Subset
from stages.student.measuring.evaluation_settings import EvaluationSettings
from stages.student.measuring.metrics import (
    FIGURES,
    Floats,
    PictureResults,
    members,
    name_figures,
    picture_figures,
)

_CELLS = 4_000_000  # counts of a block of draws: 32 MB, so that memory stays flat in the number of draws


def intervals(
    results: PictureResults, subset_of: Sequence[Subset], settings: EvaluationSettings
) -> dict[str, Any]:
    """Percentile intervals (Efron, 1979), in percent, laid out like the figures they belong to.

    Each draw takes as many pictures as there are, with replacement, and averages anew: over the pictures of
    a verb, then over the verbs that the draw holds. An interval is ``[low, high]``, or None for a subset
    with fewer than two pictures, of which nothing can be said; draws that hold none of a subset's pictures
    are left out of its intervals.

    subset_of  for each verb class, the subset it belongs to
    """
    assert settings.draws > 0, "without draws there are no intervals"
    verbs, counts = np.unique(results.verb, return_counts=True)
    chosen = members(verbs, subset_of)
    means = _drawn(results, chosen, settings)
    known = {subset: int(counts[mask].sum()) > 1 for subset, mask in chosen.items()}
    both = known["seen"] and known["unseen"]
    mean = _harmonic(means["seen"], means["unseen"]) if both else None
    return {
        "draws": settings.draws,
        "level": settings.level,
        "seed": settings.seed,
        "subsets": {
            subset: name_figures(_ends(drawn, settings.level) if known[subset] else None)
            for subset, drawn in means.items()
        },
        "harmonic_mean": name_figures(None if mean is None else _ends(mean, settings.level)),
    }


def _drawn(
    results: PictureResults, chosen: dict[str, NDArray[np.bool_]], settings: EvaluationSettings
) -> dict[str, Floats]:
    """Subset -> [D, 14] in percent; NaN where a draw holds none of its pictures."""
    random = np.random.default_rng(settings.seed)
    order = np.argsort(results.verb, kind="stable")
    # A last column of ones counts the pictures of a verb that were drawn.
    figures = np.column_stack([picture_figures(results), np.ones(len(order))])[order]
    starts = np.flatnonzero(np.diff(results.verb[order], prepend=-1))
    drawn: dict[str, list[Floats]] = {subset: [] for subset in chosen}
    for block in batches(range(settings.draws), max(1, _CELLS // max(1, len(order)))):
        sums = _sums_of_verbs(random, len(block), figures, starts)
        present = sums[:, :, -1:] > 0
        means = np.divide(sums[:, :, :-1], sums[:, :, -1:], out=np.zeros_like(sums[:, :, :-1]), where=present)
        for subset, mask in chosen.items():
            held = present[:, mask].sum(axis=1)
            with np.errstate(invalid="ignore"):
                drawn[subset].append(100 * means[:, mask].sum(axis=1) / held)
    return {subset: np.concatenate(parts) for subset, parts in drawn.items()}


def _sums_of_verbs(
    random: np.random.Generator, draws: int, figures: Floats, starts: NDArray[np.int64]
) -> Floats:
    """[draws, U, 15]: for each draw and verb, the sum of `figures` [M, 15] over the pictures drawn.

    A draw is a count of each picture, so that a verb's sums are one product of matrices.
    """
    pictures = len(figures)
    times = np.stack(
        [np.bincount(random.integers(0, pictures, pictures), minlength=pictures) for _ in range(draws)]
    ).astype(np.float64)
    sums = np.empty((draws, len(starts), FIGURES + 1))
    for verb, (start, end) in enumerate(zip(starts, [*starts[1:], pictures], strict=True)):
        sums[:, verb] = times[:, start:end] @ figures[start:end]
    return sums


def _harmonic(a: Floats, b: Floats) -> Floats:
    """[D, 14] and [D, 14] -> [D, 14], as `metrics.harmonic_mean`; NaN where either is."""
    total = a + b
    means: Floats = np.where(np.isnan(total), np.nan, 0.0)
    np.divide(2 * a * b, total, out=means, where=total > 0)
    return means


def _ends(drawn: Floats, level: float) -> list[list[float] | None]:
    """[D, 14] -> for each figure the quantiles that hold `level` of the draws between them."""
    held = drawn[~np.isnan(drawn[:, 0])]
    if not len(held):
        return [None] * FIGURES
    low, high = np.quantile(held, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
