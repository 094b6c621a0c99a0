"""Weights that make what is drawn from neighbourhoods as frequent as it is wanted.

Each of S sources draws one of its own few nearest of M candidates. Axes: S sources, M candidates, L links.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ROUNDS = 50  # of scaling; the demo's shortcut AUC no longer changes in its second digit after 20
# Bound on a weight over its wanted frequency: a candidate that few can draw stays likely there.
_LARGEST = 1e6
_DIGITS = 6


def balanced_weights(near: Sequence[Sequence[int]], sources: Floats, wanted: Floats) -> Floats:
    """[M] weights by which the sources' draws give each candidate its share of `wanted`.

    near     [S] the candidates that each source draws from
    sources  [S] how often each source draws
    wanted   [M] how often each candidate is wanted; its share counts, and 0 is never drawn

    Where that cannot be had, because few sources are near a candidate, it comes as near as it gets: iterative
    proportional fitting (Deming and Stephan 1940). Rounded, so that the last bits of a machine's sums do not
    decide a draw.
    """
    source = np.repeat(np.arange(len(near)), [len(some) for some in near])  # [L]
    candidate = np.array([one for some in near for one in some], np.intp)  # [L]
    weights = wanted.astype(np.float64)
    goal = wanted * (sources.sum() / max(wanted.sum(), 1.0))
    for _ in range(_ROUNDS):
        sums = np.bincount(source, weights[candidate], len(near)).astype(np.float64)
        share = np.divide(sources, sums, out=np.zeros_like(sums), where=sums > 0)
        got = weights * np.bincount(candidate, share[source], len(wanted))
        factor = np.divide(goal, got, out=np.ones_like(goal), where=got > 0)
        weights = np.minimum(weights * factor, wanted * _LARGEST)
    return np.array([float(f"{weight:.{_DIGITS}g}") for weight in weights.tolist()])


def chances(uniform: Floats, weights: Floats) -> Floats:
    """[M] numbers of which the largest is a draw with these weights (Efraimidis and Spirakis 2006).

    uniform  [M] hashes in 0..1; a candidate's number depends on its own hash and weight alone

    Those of weight 0 come after all others, among themselves by their hash.
    """
    some = np.where(weights > 0, weights, 1.0)
    drawn = np.log(np.maximum(uniform, 1e-300)) / some
    return np.where(weights > 0, drawn, -1e300 * (2.0 - uniform))
