"""A text encoder without weights."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from stages.teacher.encoders.encoder import Floats, TextTokens
from stages.teacher.encoders.seeded import projection

VERSION = 1  # of the vectors: raise it when the same text gives other ones
# Rows that words and n-grams are hashed to: two rows each, so that two words hardly ever collide.
_TABLE_ROWS = 8192
_GRAMS = (3, 4)
_LONGEST_WORD = 40  # characters whose n-grams are looked at
_FUNCTION_WEIGHT = 0.15  # of words that say little about what a sentence is about
_FUNCTION_WORDS = {
    "a", "an", "the", "this", "that", "these", "those", "it", "its", "is", "are", "was", "were", "be",
    "been", "being", "as", "of", "to", "in", "on", "at", "by", "for", "from", "with", "and", "or", "not",
    "no", "nor", "but", "than", "then", "so", "such", "there", "their", "his", "her", "him", "he", "she",
    "they", "them", "who", "which", "what",
}  # fmt: skip
_WORD = re.compile(r"[^\W_]+")
_WORDLESS = ""  # the one token of a text without words; never a word


class BuiltinText:
    """A fixed text encoder: each word is the sum of its own hashed vector and those of its 3- and 4-grams.

    The dot product of two pooled vectors grows with the words the texts share, and, through the n-grams,
    with forms of one word ("runs", "running"). Case, order and punctuation do not count. A text without
    words has one token of its own.

    dim         width of a token
    pooled_dim  width of a pooled vector
    max_tokens  words kept of a text; the others are dropped and counted
    variant     name of the random vectors
    batch_size  texts per call that keep memory small; decides nothing else
    """

    edges = (0, 0)

    def __init__(
        self,
        dim: int = 128,
        pooled_dim: int = 256,
        max_tokens: int = 77,
        variant: str = "text",
        batch_size: int = 256,
    ) -> None:
        """Raises UserError where a size is below 1."""
        for name, size in (("dim", dim), ("pooled_dim", pooled_dim), ("max_tokens", max_tokens)):
            if size < 1:
                raise UserError(f"builtin text encoder: {name} is {size}, but must be at least 1")
        self.dim, self.pooled_dim, self.max_tokens = dim, pooled_dim, max_tokens
        self._variant, self.batch_size = variant, batch_size
        self._word = lru_cache(maxsize=50_000)(self._hashed_word)

    def identity(self) -> Mapping[str, Any]:
        return {
            "encoder": "builtin-text",
            "version": VERSION,
            "dim": self.dim,
            "pooled_dim": self.pooled_dim,
            "max_tokens": self.max_tokens,
            "variant": self._variant,
        }

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return np.array([len(_words(text)) for text in texts], dtype=np.int64)

    def close(self) -> None:
        """Keeps its word vectors, which are small."""

    def encode(self, texts: Sequence[str]) -> TextTokens:
        """See `TextTokens`; tokens have variance about 1 per entry."""
        words = [_words(text) for text in texts]
        kept = [found[: self.max_tokens] for found in words]
        lengths = np.array([len(found) for found in kept], dtype=np.int64)
        tokens = np.zeros((len(texts), int(lengths.max(initial=0)), self.dim), dtype=np.float32)
        pooled = np.zeros((len(texts), self.pooled_dim), dtype=np.float32)
        for i, found in enumerate(kept):
            vectors = np.stack([self._word(word) for word in found])
            tokens[i, : len(found)] = vectors[:, : self.dim] * math.sqrt(self.dim)
            weights = [_FUNCTION_WEIGHT if word in _FUNCTION_WORDS else 1.0 for word in found]
            total = np.asarray(weights, dtype=np.float32) @ vectors[:, self.dim :]
            pooled[i] = total / np.linalg.norm(total)
        cut = np.array([len(found) for found in words], dtype=np.int64) - lengths
        return TextTokens(tokens, lengths, pooled, cut, np.ones_like(cut))

    def _hashed_word(self, word: str) -> Floats:
        """[dim + pooled_dim]: a unit vector for the tokens beside a unit vector for pooling."""
        marked = f"<{word[:_LONGEST_WORD]}>"
        grams = {marked[i : i + n] for n in _GRAMS for i in range(len(marked) + 1 - n)}
        vector = self._entry(f"word:{word}")
        if grams:
            vector = vector + sum(self._entry(f"gram:{gram}") for gram in sorted(grams)) / math.sqrt(
                len(grams)
            )
        for part in (vector[: self.dim], vector[self.dim :]):
            part /= np.linalg.norm(part)
        return vector

    def _entry(self, name: str) -> Floats:
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        first, second = (int.from_bytes(digest[i : i + 4], "big") % _TABLE_ROWS for i in (0, 4))
        entry: Floats = self._table[first] - self._table[second]
        return entry

    @cached_property
    def _table(self) -> Floats:
        """[rows, dim + pooled_dim] Gaussian."""
        return projection(_TABLE_ROWS, self.dim + self.pooled_dim, self._variant, "words")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower()) or [_WORDLESS]
