"""The shortcut probe: can positives be told from negatives without the picture?

Where the two sides differ in style ("perhaps", "not", longer sentences), a student can learn the style
instead of the picture. The probe is a linear classifier on the words of a text and its length.

Shapes: n texts, D features (a constant, two of length, one per word and pair of words in a row).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np
from numpy.typing import NDArray

from cache.keys import derive_number
from stages.teacher.asking.sentence import to_words

SUSPICIOUS = 0.8  # above this AUC, a text mostly gives its side away

_FOLDS = 5
_FEWEST = 25  # texts of either side; with fewer, the AUC of a coin is often far from 0.5
_RIDGE = 1.0  # pull of the weights to zero, in texts
_STEPS = 30  # of conjugate gradients: 10 and 200 give an AUC within 0.004 of each other
_LENGTHS = 3  # columns 0 to 2: the constant, words, letters a word

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def shortcut_auc(
    texts: Sequence[str], positive: Sequence[bool], groups: Sequence[str], seed: int = 0, limit: int = 4000
) -> float | None:
    """Cross-validated AUC of words and length: 0.5 = cannot be told, 1 = told every time.

    positive  [n] the side of each text
    groups    [n] its picture: the texts of a picture are in one fold, because they share words
    limit     about so many texts are looked at, of pictures drawn by `seed`

    None where there are too few texts to tell. The same for the same texts in any order.
    """
    rank = _drawn(groups, seed, limit)
    chosen = [i for i, group in enumerate(groups) if group in rank]
    chosen.sort(key=lambda i: (rank[groups[i]], texts[i], positive[i]))
    side = np.array([positive[i] for i in chosen], dtype=bool)
    fold = np.array([rank[groups[i]] % _FOLDS for i in chosen])
    if min(np.count_nonzero(side), np.count_nonzero(~side)) < _FEWEST:
        return None
    return _mean_auc(_features([texts[i] for i in chosen]), side, fold)


def _drawn(groups: Sequence[str], seed: int, limit: int) -> dict[str, int]:
    """Group -> its place in a draw, of the first that together have `limit` texts."""
    sizes = Counter(groups)
    drawn: dict[str, int] = {}
    texts = 0
    for group in sorted(sizes, key=lambda group: (derive_number("shortcut", seed, group), group)):
        if texts >= limit:
            break
        drawn[group] = len(drawn)
        texts += sizes[group]
    return drawn


def _mean_auc(features: _Sparse, side: Flags, fold: NDArray[np.int64]) -> float | None:
    """Mean of the folds' AUC by their pairs of texts; scores of two folds come from two classifiers."""
    total = pairs = 0.0
    for held in (fold == i for i in range(_FOLDS)):
        count = np.count_nonzero(side[held]) * np.count_nonzero(~side[held])
        if count:
            scores = features.times(_fit(features, np.where(side, 1.0, -1.0), ~held))
            total += count * _auc(scores[held & side], scores[held & ~side])
            pairs += count
    return float(total / pairs) if pairs else None


def _auc(above: Floats, below: Floats) -> float:
    """Share of pairs in which the positive has the higher score; a tie is half a pair."""
    ranked = np.sort(below)
    wins = np.searchsorted(ranked, above, "left") + np.searchsorted(ranked, above, "right")
    return float(wins.mean()) / (2 * len(below))


@dataclass(frozen=True, slots=True)
class _Sparse:
    """A matrix [n, D] of which few entries are not zero.

    row, column, value  [entries]
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    value: Floats
    shape: tuple[int, int]

    def times(self, weights: Floats) -> Floats:
        """[D] -> [n]"""
        return np.bincount(self.row, self.value * weights[self.column], self.shape[0]).astype(np.float64)

    def transposed_times(self, residuals: Floats) -> Floats:
        """[n] -> [D]"""
        return np.bincount(self.column, self.value * residuals[self.row], self.shape[1]).astype(np.float64)


def _features(texts: Sequence[str]) -> _Sparse:
    """The words of each text as a vector of length 1; its length in units of standard deviation."""
    split = [to_words(text) for text in texts]
    number: dict[tuple[str, ...], int] = {}
    row: list[int] = []
    column: list[int] = []
    value: list[float] = []
    for i, words in enumerate(split):
        counts = Counter([*zip(words, strict=True), *pairwise(words)])
        row += [i] * len(counts)
        column += [number.setdefault(run, _LENGTHS + len(number)) for run in counts]
        value += [(1 + log(count)) / len(counts) ** 0.5 for count in counts.values()]
    lengths = np.stack([np.ones(len(texts)), *_lengths(split)], axis=1)
    rows, columns = np.indices(lengths.shape)
    return _Sparse(
        np.concatenate([rows.ravel(), np.array(row, dtype=np.int64)]),
        np.concatenate([columns.ravel(), np.array(column, dtype=np.int64)]),
        np.concatenate([lengths.ravel(), np.array(value)]),
        (len(texts), _LENGTHS + len(number)),
    )


def _lengths(split: Sequence[Sequence[str]]) -> list[Floats]:
    words = np.array([len(words) for words in split])
    letters = np.array([sum(map(len, words)) for words in split])
    found = [np.log1p(words), letters / np.maximum(words, 1)]
    return [(values - values.mean()) / (values.std() or 1.0) for values in found]


def _fit(features: _Sparse, target: Floats, training: Flags) -> Floats:
    """[D] weights of ridge regression on the training texts, by conjugate gradients."""

    def curved(weights: Floats) -> Floats:
        return features.transposed_times(features.times(weights) * training) + _RIDGE * weights

    residual = features.transposed_times(target * training)
    weights, direction = np.zeros_like(residual), residual
    size = residual @ residual
    for _ in range(_STEPS):
        if size < 1e-12:
            break
        bend = curved(direction)
        step = size / (direction @ bend)
        weights = weights + step * direction
        residual = residual - step * bend
        size, before = residual @ residual, size
        direction = residual + size / before * direction
    return weights
