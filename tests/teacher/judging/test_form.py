from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.teacher.asking.sentence import to_words
from stages.teacher.judging.form import form_fault
from stages.teacher.judging.judge_settings import JudgeSettings

LIMIT = 60
PLAIN = "A man is jumping over the fence"


def fault(text: str, max_chars: int = 0, **settings: object) -> str | None:
    return form_fault(text, to_words(text), JudgeSettings(**settings), max_chars)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "A man - tall, in a grey-blue coat - is jumping over the fence at the left.",
        "The sign reads 5 * 3 & more; the price is $5 (or 4 #2 pencils), 3 < 4 and 10 > 9.",
        "Between the dogs (one at the left, one at the right) 2 men are standing.",
        "2 men are standing by the fence [at the left] and watch.",
        "A man is jumping over the fence, \u201clike a horse\u201d",
        "The horse's owner says: \u00abit jumps!\u00bb",
        "At No. 5 a man jumps over the fence; it's 3 o'clock. A dog_house is near.",
    ],
)
def test_plain_sentences_with_signs_in_them_pass(text: str) -> None:
    assert fault(text) is None


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("A man is <b>jumping</b> over the fence.", "'<b>'"),
        ("A man is jumping over the fence.<br/>", "'<br/>'"),
        ("A man is jumping over the fence.<|im_end|> <|im_start|>system", "'<|im_end|>'"),
        ("<image> A man is jumping over the fence.", "'<image>'"),
        ("A man is jumping over the fence.</s>", "'</s>'"),
        ("[INST] A man is jumping over the fence. [/INST]", "'[INST]'"),
        ("A man &amp; a horse are jumping over the fence.", "'&amp;'"),
        ("A man is **jumping** over the fence.", "'**'"),
        ("A man is *really jumping* over the fence.", "'*really jumping*'"),
        ("A man is __jumping__ over the fence.", "'__'"),
        ("A man is `jumping` over the fence.", "'`'"),
        ("```json A man is jumping over the fence. ```", "'`'"),
        ("# Glimpse A man is jumping over the fence.", "'#'"),
        ("A man is here. ## Gaze He is jumping over the fence.", "'##'"),
        ("- A man is jumping over the fence. - A horse stands by.", "'-'"),
        ("* A man is jumping over the fence.", "'*'"),
        ("1. A man is jumping over the fence. 2. A horse stands by.", "'1.'"),
        ("\u2022 A man is jumping over the fence.", "'\\u2022'"),
        ("| role | noun | |---|---| | agent | man | is jumping", "'|---'"),
        ("A man is [jumping](http://a.b) over the fence.", "']('"),
        ("A man is \\textbf jumping over the fence.", "'\\\\'"),
        ("A man is jumping\\nover the fence.", "'\\\\'"),
        ("A man is jumping $$x over the fence.", "'$$'"),
        ('{"text": "A man is jumping over the fence."}', "'{'"),
    ],
)
def test_markup_is_named(text: str, quoted: str) -> None:
    assert fault(text) == f"the text holds markup ({quoted}); plain sentences are wanted"


@pytest.mark.parametrize("sign", ["\ufffd", "\ue000", "\uf8ff"])
def test_characters_that_mean_nothing_are_refused(sign: str) -> None:
    assert (
        fault(f"A man is jumping over the {sign} fence.") == "the text holds characters that cannot be read"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"{PLAIN},",
        f"{PLAIN} \u2013",
        f"{PLAIN}:",
        f"{PLAIN} and",
        f"{PLAIN} of the",
        f"{PLAIN} because",
    ],
)
def test_what_no_sentence_ends_in_is_cut_at_any_length(text: str) -> None:
    assert fault(text) == "the text is cut off in the middle of a sentence"


def test_a_text_at_the_limit_is_cut_where_no_sentence_ends() -> None:
    whole = "A man is jumping over the fence and a horse is near him now."
    assert len(whole) == LIMIT
    assert fault(whole, LIMIT) is None
    assert fault(whole[:-1], LIMIT) == "the text is cut off in the middle of a sentence"
    assert fault(whole[:-1], 0) is None
    assert fault(whole[:-1], 2 * LIMIT) is None


def test_a_sentence_without_its_full_stop_passes_far_from_the_limit() -> None:
    assert fault(PLAIN, 600) is None
    assert fault("This is the wall that the man leans against", 600) is None
    assert fault("Le collier que porte cette femme est en or", language="fr") is None  # French gold


def test_the_language_is_a_setting() -> None:
    german = "Ein Mann springt mit ausgestreckten Armen vom Steg in den See."
    assert fault(german) == "the text is in another language (de) than en"
    assert fault(german, language="de") is None
    assert fault(german, language="") is None
    assert fault(f"{PLAIN}.", language="de") == "the text is in another language (en) than de"


def test_a_text_in_a_language_without_spaces_is_foreign_and_not_too_short() -> None:
    assert fault("一匹棕色的马越过白色的栅栏。") == "the text is in another language (zh) than en"


def test_refusals_of_several_makes_are_known() -> None:
    for text in (
        "I\u2019m sorry, but I cannot help with that request today.",
        "I don't see any image here, please send it once more.",
        "As an AI I do not describe people in pictures.",
        "The picture is not provided, so nothing can be told of it.",
    ):
        assert fault(text) == "the text refuses to answer", text


@given(st.integers(1, 12), st.integers(0, 6), st.integers(0, 6), st.randoms(use_true_random=False))
def test_a_run_that_repeats_on_end_goes_in_circles_and_one_time_less_does_not(
    size: int, before: int, after: int, draw: random.Random
) -> None:
    names = [f"{word}{number}" for number in range(30) for word in ("cat", "oak", "sea")]
    draw.shuffle(names)
    run, rest = names[:size], names[size:]
    times = 5 if size < 3 else 3
    for count, expected in ((times, "the text repeats itself"), (times - 1, None)):
        words = [*rest[:before], *run * count, *rest[before : before + after + 5]]
        assert fault(" ".join(words) + ".", language="") == expected
