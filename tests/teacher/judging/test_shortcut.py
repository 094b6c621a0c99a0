from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from stages.teacher.judging.shortcut import shortcut_auc

Texts = tuple[list[str], list[bool], list[str]]
WORDS = [f"word{number}" for number in range(2000)]


def drawn(pictures: int, write: Callable[[random.Random, bool], str], seed: int = 0) -> Texts:
    """A positive and a negative of each picture."""
    draw = random.Random(seed)
    rows = [(write(draw, side), side, f"{n}.jpg") for n in range(pictures) for side in (True, False)]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def some_words(draw: random.Random, least: int = 20, most: int = 45) -> str:
    """Few words are frequent and most are rare, as in a language."""
    count = draw.randint(least, most)
    return " ".join(WORDS[min(len(WORDS), int(draw.paretovariate(0.9))) - 1] for _ in range(count))


def auc(texts: Texts, seed: int = 0, limit: int = 4000) -> float:
    found = shortcut_auc(*texts, seed, limit)
    assert found is not None
    return found


def test_texts_drawn_alike_cannot_be_told() -> None:
    found = [auc(drawn(300, lambda draw, _: some_words(draw), seed)) for seed in range(4)]
    assert sum(found) / 4 == pytest.approx(0.5, abs=0.03)
    assert all(0.43 < value < 0.57 for value in found)


def test_verbs_swapped_within_pairs_cannot_be_told() -> None:
    """Each verb is as often the true as the wrong one, in the same sentence: only the picture can tell."""
    draw = random.Random(0)
    verbs = [draw.sample(["jumping", "diving", "running", "falling", "riding"], 2) for _ in range(300)]
    texts = [f"A man is {verb} outdoors." for two in verbs for verb in two]
    pictures = [f"{number // 2}.jpg" for number in range(600)]
    assert auc((texts, [True, False] * 300, pictures)) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    "write",
    [
        lambda draw, side: some_words(draw) + ("" if side else " not so"),
        lambda draw, side: some_words(draw, 20, 28) if side else some_words(draw, 30, 45),
        lambda draw, side: some_words(draw) + (" it seems" if side else " seems it"),
    ],
    ids=["a word", "length", "order of words"],
)
def test_a_difference_of_style_is_told(write: Callable[[random.Random, bool], str]) -> None:
    assert auc(drawn(300, write)) > 0.95


def test_pictures_are_kept_together() -> None:
    """A word of the picture gives its side away only to who has seen another text of the picture."""
    draw = random.Random(0)
    side_of = {n: bool(draw.getrandbits(1)) for n in range(100)}
    rows = [
        (f"own{n} {some_words(draw, 4, 6)}", side, f"{n}.jpg")
        for n, side in side_of.items()
        for _ in range(6)
    ]
    texts, sides, pictures = ([row[i] for row in rows] for i in range(3))
    alone = [f"{picture}{i}" for i, picture in enumerate(pictures)]
    assert auc((texts, sides, alone)) > 0.9  # type: ignore[arg-type]
    assert auc((texts, sides, pictures)) == pytest.approx(0.5, abs=0.12)  # type: ignore[arg-type]


def test_the_order_of_the_texts_does_not_matter() -> None:
    texts = drawn(100, lambda draw, side: some_words(draw) + (" so" if side and draw.random() < 0.5 else ""))
    shuffled = list(zip(*texts, strict=True))
    random.Random(1).shuffle(shuffled)
    again = ([row[0] for row in shuffled], [row[1] for row in shuffled], [row[2] for row in shuffled])
    assert auc(texts) == auc(again) == auc(texts)


def test_the_limit_draws_whole_pictures_by_the_seed() -> None:
    texts = drawn(300, lambda draw, _: some_words(draw))
    assert auc(texts, limit=200) == auc(texts, limit=199)
    assert auc(texts, limit=200) != auc(texts, limit=200, seed=1)
    assert auc(texts, limit=200) != auc(texts, limit=600)
    assert auc(texts, limit=600) == auc(texts, limit=10**6)


def test_too_few_texts_of_a_side_give_no_figure() -> None:
    texts, sides, pictures = drawn(25, lambda draw, _: some_words(draw))
    assert shortcut_auc(texts, sides, pictures) is not None
    assert shortcut_auc(texts[:-1], sides[:-1], pictures[:-1]) is None
    assert shortcut_auc(texts, [True] * 50, pictures) is None
    assert shortcut_auc([], [], []) is None


def test_texts_without_words_are_texts() -> None:
    assert auc((["", "..."] * 100, [True, False] * 100, [f"{n // 2}" for n in range(200)])) == 0.5


def test_four_thousand_texts_take_seconds() -> None:
    texts = drawn(3000, lambda draw, _: some_words(draw))
    start = time.process_time()
    auc(texts)
    assert time.process_time() - start < 3
