from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.kinds import KINDS
from stages.teacher.asking.parse import ParseError, clean_text, parse_answer

GOOD = {kind.field: f"text of {kind.field}" for kind in KINDS}


def test_a_good_answer_gives_the_four_kinds_in_order() -> None:
    shuffled = dict(reversed(GOOD.items()))
    assert list(parse_answer(json.dumps(shuffled)).items()) == [(kind, GOOD[kind.field]) for kind in KINDS]


def test_a_part_of_the_kinds_can_be_asked_for() -> None:
    kinds = KINDS[2:3]
    assert parse_answer('{"positive_gaze": "a dog"}', kinds) == {kinds[0]: "a dog"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("I see a dog.", "not JSON"),
        (json.dumps(GOOD)[:-5], "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"positive_glimpse": "raw \n newline"}', "not JSON"),
        ("[1]", "a JSON object was asked for, not list"),
        (json.dumps(GOOD) + " Hope this helps!", "text after the JSON object: ' Hope this helps!'"),
        (json.dumps({**GOOD, "mood": "sunny"}), "field 'mood' was not asked for"),
        (json.dumps({name: GOOD[name] for name in list(GOOD)[:3]}), "field 'negative_gaze' is missing"),
        (json.dumps({**GOOD, "positive_gaze": ["a"]}), "field 'positive_gaze' is list, not text"),
        (json.dumps({**GOOD, "positive_gaze": None}), "field 'positive_gaze' is NoneType, not text"),
        (json.dumps(GOOD)[:-1] + ', "positive_gaze": "b"}', "field 'positive_gaze' is there twice"),
    ],
)
def test_a_bad_answer_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_answer(text)
    assert str(caught.value).startswith(reason)


def test_a_quoted_answer_is_short_and_printable() -> None:
    with pytest.raises(ParseError) as caught:
        parse_answer("\x1b[31m" + "x" * 10_000)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_white_space_and_control_characters_are_cleaned() -> None:
    assert clean_text("  a\tdog\r\n\u00a0runs \x1b[2J\u202e\u200bfast\ud800 ") == "a dog runs [2Jfast"
    assert clean_text("cafe\u0301") == "caf\u00e9"


def test_control_characters_that_json_spells_out_do_not_come_through() -> None:
    answer = (
        '{"positive_glimpse": "a\\u0000 man\\u0007 \\u009b31m is\\u001b[2J \\u202ejumping\\ufeff\\ud800"}'
    )
    assert parse_answer(answer, KINDS[:1]) == {KINDS[0]: "a man 31m is[2J jumping"}


@given(st.text())
def test_a_cleaned_text_is_storable_and_stays_as_it_is(text: str) -> None:
    cleaned = clean_text(text)
    assert cleaned.encode().decode() == cleaned
    assert clean_text(cleaned) == cleaned
    assert cleaned == " ".join(cleaned.split())


@given(st.lists(st.text(), min_size=4, max_size=4))
def test_whatever_a_model_writes_in_the_fields_comes_back_cleaned(texts: list[str]) -> None:
    answer = json.dumps({kind.field: text for kind, text in zip(KINDS, texts, strict=True)})
    assert list(parse_answer(answer).values()) == [clean_text(text) for text in texts]
