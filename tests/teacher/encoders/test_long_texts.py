"""Texts beyond an encoder's limit lose nothing but detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.teacher.encoders.builtin_text import BuiltinText
from stages.teacher.encoders.encoder import TextTokens
from stages.teacher.encoders.encoder_settings import TextEncoderSettings
from stages.teacher.encoders.long_texts import PooledLongTexts, average_runs
from stages.teacher.encoders.sources import open_text
from tests.tiny_encoders import WORDS, build_bert, build_clip, build_siglip


class Numbered:
    """A text encoder whose tokens say which word they are: "7" becomes [7, 1], between -1 and -2."""

    dim, pooled_dim, batch_size, edges = 2, 2, 4, (1, 1)

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.asked: list[str] = []

    def identity(self) -> Mapping[str, Any]:
        return {"encoder": "numbered"}

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return np.array([len(text.split()) + 2 for text in texts])

    def encode(self, texts: Sequence[str]) -> TextTokens:
        self.asked += texts
        rows = [[-1.0, *(float(word.strip(".!")) for word in text.split()), -2.0] for text in texts]
        kept = [row[: self.max_tokens] for row in rows]
        lengths = np.array([len(row) for row in kept])
        tokens = np.zeros((len(texts), lengths.max(initial=0), 2), np.float32)
        for row, values in zip(tokens, kept, strict=True):
            row[: len(values)] = np.stack([values, np.ones(len(values))], -1)
        pooled = np.array([[1.0, 0.0] if "1" in text.split() else [0.0, 1.0] for text in texts], np.float32)
        cut = np.array([len(row) for row in rows]) - lengths
        return TextTokens(tokens, lengths, pooled, cut, np.ones_like(cut))

    def close(self) -> None:
        self.asked.clear()


def numbers(count: int) -> str:
    return " ".join(map(str, range(1, count + 1)))


def test_texts_within_the_limit_are_encoded_as_ever() -> None:
    plain, pooling = Numbered(6), PooledLongTexts(Numbered(6))
    texts = ["1 2 3 4", "", "7"]
    expected, found = plain.encode(texts), pooling.encode(texts)
    for name in ("tokens", "lengths", "pooled", "cut", "pieces"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_every_word_of_a_long_text_counts_once_and_in_order() -> None:
    """Eight words in room for four: averages of two neighbours, between the special tokens."""
    encoder = Numbered(6)
    found = PooledLongTexts(encoder).encode(["9", numbers(8)])
    assert encoder.asked == ["9", "1 2 3 4", "5 6 7 8"]
    assert found.tokens[1, :, 0].tolist() == [-1.0, 1.5, 3.5, 5.5, 7.5, -2.0]
    assert found.tokens[0, :, 0].tolist() == [-1.0, 9.0, -2.0, 0.0, 0.0, 0.0]
    assert found.lengths.tolist() == [3, 6]
    assert found.pieces.tolist() == [1, 2]
    assert found.cut.tolist() == [0, 0]


def test_pieces_are_whole_sentences_where_they_fit() -> None:
    encoder = Numbered(7)
    PooledLongTexts(encoder).encode(["1 2. 3 4 5. 6 7 8 9. 10"])
    assert encoder.asked == ["1 2. 3 4 5.", "6 7 8 9. 10"]


def test_pooled_vectors_are_averaged_by_their_tokens() -> None:
    """Three words of the first piece against four of the second."""
    found = PooledLongTexts(Numbered(6)).encode(["1 2 3. 4 5 6 7"])
    np.testing.assert_allclose(found.pooled[0], np.array([3, 4]) / 5, atol=1e-6)


@given(st.integers(1, 60), st.integers(1, 60))
def test_runs_keep_the_mean_and_differ_by_one_at_most(count: int, room: int) -> None:
    tokens = np.arange(count, dtype=np.float32)[:, None]
    found = average_runs(tokens, room)
    assert len(found) == min(count, room)
    assert np.all(np.diff(found[:, 0]) > 0), "order is kept"
    # A run from a to b has the mean (a + b) / 2: all ends follow from the means.
    start = 0.0
    sizes = []
    for mean in found[:, 0]:
        sizes.append(round(2 * (float(mean) - start)) + 1)
        start += sizes[-1]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.sampled_from(["1", "2", "3.", "44", "5!"]), min_size=1, max_size=60), st.integers(3, 9))
def test_any_text_fits_and_nothing_is_cut(words: list[str], limit: int) -> None:
    encoder = Numbered(limit)
    found = PooledLongTexts(encoder).encode([" ".join(words)])
    assert " ".join(encoder.asked).split() == words
    assert found.cut.tolist() == [0]
    assert found.lengths[0] == min(len(words) + 2, limit)
    assert np.all(found.tokens[0, : found.lengths[0], 1] == 1)


def test_a_word_that_alone_is_too_long_is_cut_into_letters(tmp_path: Path) -> None:
    """The tiny CLIP reads letter by letter and takes ten of them."""
    settings = TextEncoderSettings(source="transformers", model=str(build_clip(tmp_path)), device="cpu")
    found = open_text(settings).encode(["abcdefghijklmnopqrstuvwxyz"])
    assert (found.lengths[0], found.cut[0], found.pieces[0]) == (12, 0, 4)


BUILDERS: dict[str, Callable[[Path], Path]] = {"clip": build_clip, "siglip": build_siglip, "bert": build_bert}


@pytest.mark.parametrize(("name", "edges"), [("clip", (1, 1)), ("siglip", (0, 1)), ("bert", (1, 1))])
def test_pretrained_encoders_tell_their_special_tokens(
    tmp_path: Path, name: str, edges: tuple[int, int]
) -> None:
    model = str(BUILDERS[name](tmp_path))
    cut, pool = (
        open_text(TextEncoderSettings(source="transformers", model=model, device="cpu", long_texts=way))
        for way in ("cut", "pool")
    )
    assert cut.edges == edges
    text = " ".join([*WORDS, *WORDS])
    whole, short = pool.encode([text]), cut.encode([text])
    assert whole.lengths.tolist() == short.lengths.tolist() == [cut.max_tokens]
    assert (whole.cut[0], short.pieces[0]) == (0, 1)
    assert short.cut[0] == cut.count([text])[0] - cut.max_tokens > 0
    assert whole.pieces[0] > 1
    np.testing.assert_allclose(np.linalg.norm(whole.pooled, axis=1), 1, atol=1e-5)
    assert np.abs(whole.pooled - short.pooled).max() > 1e-3, "the end of the text counts"


def test_the_way_is_part_of_the_identity() -> None:
    cut = open_text(TextEncoderSettings(long_texts="cut")).identity()
    pool = open_text(TextEncoderSettings(long_texts="pool")).identity()
    assert cut == BuiltinText().identity()
    assert pool == {**cut, "long_texts": {"by": "pool", "algorithm": 1}}
