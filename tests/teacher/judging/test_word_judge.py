from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cache.kinds import KINDS, Kind
from stages.data.sample import Sample
from stages.teacher.asking.parse import parse_answer
from stages.teacher.engines.engine import Contrast
from stages.teacher.engines.template import TemplateEngine
from stages.teacher.judging.judge_settings import JudgeSettings
from stages.teacher.judging.model_judge import ModelJudge, verdict_schema
from tests.teacher.examples import VOCABULARY, jumping, request
from tests.teacher.strategies import samples

GLIMPSE, NOT_GLIMPSE, GAZE, NOT_GAZE = KINDS
CONTRAST = Contrast("diving", {"agent": "n00000003", "destination": "n00000011"})


def verdicts(
    texts: Mapping[Kind, str], sample: Sample | None = None, contrast: Contrast = CONTRAST
) -> dict[str, Any]:
    asked = replace(request(sample or jumping(), contrast), judged=texts, schema=verdict_schema(list(texts)))
    (answer,) = TemplateEngine(VOCABULARY).answer([asked])
    assert answer.finish_reason == "stop"
    found: dict[str, Any] = json.loads(answer.text)
    return found


@pytest.mark.parametrize(
    ("kind", "text", "score", "missing"),
    [
        (GLIMPSE, "A man is jumping.", 5, ""),
        (GLIMPSE, "A man jumps.", 5, ""),
        (GLIMPSE, "A man leaps.", 1, "jumping"),
        (NOT_GLIMPSE, "A man is diving.", 5, ""),
        (NOT_GLIMPSE, "A man is jumping.", 1, "diving"),
        (GAZE, "Men in the water, outdoors; one man.", 5, ""),
        (GAZE, "The man stands in the water.", 4, "outdoors"),
        (GAZE, "The man stands.", 2, "water, outdoors"),
        (GAZE, "A horse in a field.", 1, "man, water, outdoors"),
        (NOT_GAZE, "Two horses in a field.", 5, ""),
        (NOT_GAZE, "A horse in the water.", 3, "field"),
        (NOT_GAZE, "The man stands in the water.", 1, "horse, field"),
    ],
)
def test_the_score_is_the_share_of_what_is_named(kind: Kind, text: str, score: int, missing: str) -> None:
    assert verdicts({kind: text}) == {
        kind.field: {
            "reason": f"the text does not name {missing}" if missing else "",
            "score": score,
            "verdict": "accept" if score >= 3 else "reject",
        }
    }


def test_the_noun_of_any_annotator_will_do() -> None:
    mixed = replace(jumping(), nouns=(("n00000001", "n00000002", "n00000001"), *[("", "", "")] * 4))
    for text in ("A man.", "A woman."):
        assert verdicts({GAZE: text}, mixed)["positive_gaze"]["score"] == 5


def test_a_gaze_with_nothing_to_name_must_name_its_verb() -> None:
    bare = Contrast("diving", {})
    found = verdicts({GAZE: "Nobody in a role of jumping.", NOT_GAZE: "Nobody at all."}, jumping({}), bare)
    assert [found[name]["score"] for name in ("positive_gaze", "negative_gaze")] == [5, 1]


@settings(max_examples=100)
@given(samples(VOCABULARY), st.integers(0, 2**31 - 1))
def test_the_templates_own_rationales_are_accepted_and_swapped_ones_are_not(
    sample: Sample, seed: int
) -> None:
    assume(sample.verb != "swimming")  # "swimming pool" names it
    wrong = next(verb for verb in ("diving", "snowing") if verb != sample.verb)
    asked = request(sample, Contrast(wrong, {}), seed=seed)
    engine = TemplateEngine(VOCABULARY)
    (answer,) = engine.answer([asked])
    texts = parse_answer(answer.text)
    judge = ModelJudge(JudgeSettings(), VOCABULARY, engine.identity())
    (judged,) = engine.answer([judge.request(asked, texts, "k", 0)])
    assert all(verdict.accepted for verdict in judge.read(judged, KINDS).values()), judged.text
    swapped = {GLIMPSE: texts[NOT_GLIMPSE], NOT_GLIMPSE: texts[GLIMPSE]}
    (judged,) = engine.answer([judge.request(asked, swapped, "k", 0)])
    assert not any(verdict.accepted for verdict in judge.read(judged, list(swapped)).values()), judged.text
