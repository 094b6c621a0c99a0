"""Texts beyond a text encoder's limit: encoded in pieces, whose tokens are pooled to as many as it has room.

Axes: N tokens of all pieces of one text, L the encoder's limit, D width of a token, E of a pooled vector.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.teacher.encoders.encoder import Floats, TextEncoder, TextTokens

# Raise it when a change here changes the tokens of the same long text.
ALGORITHM = 1
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_SPACE = re.compile(r"\s+")


class PooledLongTexts:
    """A `TextEncoder` that drops nothing; texts within the limit are encoded as ever.

    A longer one is cut in two at the end of the sentence nearest to its middle, or between two words where it
    is one sentence, until all pieces fit. The words' tokens of all pieces are laid end to end, and runs of
    neighbours are averaged so that L - special tokens are left: every token counts once, order and
    neighbourhood stay, and a text of twice the limit becomes averages of two words. (Averaging the pieces
    position by position would mix words that have nothing to do with each other.) The special tokens, which
    in CLIP and BERT sum up a piece, are averaged over the pieces. The pooled vector is the mean of the
    pieces' by their tokens, normalised.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self.dim, self.pooled_dim = encoder.dim, encoder.pooled_dim
        self.max_tokens, self.edges = encoder.max_tokens, encoder.edges

    @property
    def batch_size(self) -> int:
        return self._encoder.batch_size

    def identity(self) -> Mapping[str, Any]:
        return {**self._encoder.identity(), "long_texts": {"by": "pool", "algorithm": ALGORITHM}}

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return self._encoder.count(texts)

    def close(self) -> None:
        self._encoder.close()

    def encode(self, texts: Sequence[str]) -> TextTokens:
        counts = self.count(texts)
        pieces = [
            self._split(text) if count > self.max_tokens else [text]
            for text, count in zip(texts, counts, strict=True)
        ]
        encoded = self._encoder.encode([piece for parts in pieces for piece in parts])
        if len(encoded.lengths) == len(texts):
            return encoded
        ends = list(accumulate((len(parts) for parts in pieces), initial=0))
        merged = [self._merge(encoded, slice(start, end)) for start, end in pairwise(ends)]
        lengths = np.array([len(tokens) for tokens, _ in merged], np.int64)
        tokens = np.zeros((len(texts), int(lengths.max()), self.dim), np.float32)
        for row, (of_text, _) in zip(tokens, merged, strict=True):
            row[: len(of_text)] = of_text
        return TextTokens(
            tokens,
            lengths,
            np.stack([pooled for _, pooled in merged]),
            np.add.reduceat(encoded.cut, ends[:-1]),
            np.diff(ends),
        )

    def _split(self, text: str) -> list[str]:
        """Pieces that fit; one that cannot be cut any smaller stays, and the encoder cuts it."""
        if self.count([text])[0] <= self.max_tokens or len(text) < 2:
            return [text]
        left, right = _halves(text)
        return [*self._split(left), *self._split(right)]

    def _merge(self, encoded: TextTokens, part: slice) -> tuple[Floats, Floats]:
        """Tokens [at most L, D] and pooled [E] of the text whose pieces are the rows of `part`."""
        lengths = encoded.lengths[part]
        if len(lengths) == 1:
            return encoded.tokens[part][0, : lengths[0]], encoded.pooled[part][0]
        before, after = self.edges
        rows = [row[:length] for row, length in zip(encoded.tokens[part], lengths, strict=True)]
        words = np.concatenate([row[before : len(row) - after] for row in rows])
        first = [np.mean([row[i] for row in rows], axis=0) for i in range(before)]
        last = [np.mean([row[len(row) - after + i] for row in rows], axis=0) for i in range(after)]
        kept = average_runs(words, self.max_tokens - before - after)
        pooled = encoded.pooled[part].T @ (lengths - before - after).astype(np.float32)
        tokens = np.concatenate([np.reshape(first, (-1, self.dim)), kept, np.reshape(last, (-1, self.dim))])
        return tokens.astype(np.float32), pooled / max(float(np.linalg.norm(pooled)), 1e-12)


def average_runs(tokens: Floats, room: int) -> Floats:
    """[N, D] -> [min(N, room), D]: means of runs of neighbours whose sizes differ by one at most."""
    if len(tokens) <= room:
        return tokens
    bounds = np.arange(room + 1) * len(tokens) // room
    sums = np.add.reduceat(tokens, bounds[:-1])
    return np.asarray(sums / np.diff(bounds)[:, None], np.float32)


def _halves(text: str) -> tuple[str, str]:
    """Cut at the gap between sentences nearest to the middle, else between words, else anywhere."""
    text = text.strip()
    for gap in (_SENTENCE_END, _SPACE):
        gaps = [(match.start(), match.end()) for match in gap.finditer(text)]
        if gaps:
            start, end = min(gaps, key=lambda found: abs(found[0] + found[1] - len(text)))
            return text[:start], text[end:]
    return text[: len(text) // 2], text[len(text) // 2 :]
