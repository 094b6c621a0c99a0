from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.kinds import KINDS, Kind
from stages.data.sample import Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.asking.contrast import ContrastChooser
from stages.teacher.asking.parse import parse_answer
from stages.teacher.asking.role_nouns import RoleUse
from stages.teacher.engines.engine import Contrast
from stages.teacher.engines.template import TemplateEngine
from stages.teacher.judging.judge import judge
from stages.teacher.settings import JudgeSettings
from tests.teacher.examples import VOCABULARY, jumping, request, swig_vocabulary
from tests.teacher.strategies import samples

CONTRAST = Contrast("diving", {"agent": "n00000003", "destination": "n00000011", "place": "n00000008"})


def texts(sample: Sample, contrast: Contrast, seed: int = 0) -> dict[Kind, str]:
    (answer,) = TemplateEngine(VOCABULARY).answer([request(sample, contrast, seed=seed)])
    assert answer.finish_reason == "stop"
    return parse_answer(answer.text)


def test_four_rationales_tell_the_true_and_the_wrong_situation() -> None:
    positive_glimpse, negative_glimpse, positive_gaze, negative_gaze = texts(jumping(), CONTRAST).values()
    assert "a man is jumping into water outdoors" in positive_glimpse
    assert "a man is diving outdoors" in negative_glimpse
    assert "jumping" not in negative_glimpse
    assert "man" in positive_gaze
    assert "of middle size, in the centre of the picture" in positive_gaze
    assert "horse" in negative_gaze
    assert "of middle size, in the centre of the picture" in negative_gaze
    assert "man" not in negative_gaze


def test_a_box_is_told_by_size_and_place() -> None:
    def gaze(box: tuple[float, float, float, float]) -> str:
        return texts(jumping(boxes={"agent": box}), CONTRAST)[Kind("gaze", "positive")]

    assert "small, at the top left of the picture" in gaze((0, 0, 20, 20))
    assert "small, at the bottom right of the picture" in gaze((180, 80, 200, 100))
    assert "large, at the left of the picture" in gaze((0, 0, 100, 100))
    assert "across the whole picture" in gaze((0, 0, 199, 99))


def test_the_seed_picks_the_wording_and_nothing_else() -> None:
    wordings = {texts(jumping(), CONTRAST, seed)[KINDS[0]] for seed in range(20)}
    assert len(wordings) > 2
    assert all("a man is jumping into water outdoors" in text for text in wordings)
    assert texts(jumping(), CONTRAST, 3) == texts(jumping(), CONTRAST, 3)


def test_positive_and_negative_differ_in_content_alone() -> None:
    def frame(text: str, verb: str, clause: str) -> str:
        return text.replace(clause, "CLAUSE").replace(verb, "VERB")

    for seed in range(8):
        answer = texts(jumping(), CONTRAST, seed)
        positive = frame(answer[KINDS[0]], "jumping", "a man is jumping into water outdoors")
        assert positive == frame(answer[KINDS[1]], "diving", "a man is diving outdoors")


def test_a_role_without_a_wrong_noun_keeps_the_annotated_one() -> None:
    """Left out, it would be known by being missing."""
    negative = texts(jumping(), Contrast("diving", {"agent": "n00000002"}))[Kind("gaze", "negative")]
    assert "woman" in negative
    assert "Outdoors is the place" in negative


def test_a_wrong_verb_gets_the_nouns_of_roles_it_has_not() -> None:
    """So a negative glimpse is not known by the nouns that are missing."""
    answer = texts(jumping(), Contrast("building", {}), 0)
    assert "a man is building water outdoors" in answer[KINDS[1]]


def test_a_verb_of_nobody_and_a_picture_of_nothing_still_give_sentences() -> None:
    sample = Sample("s.jpg", "train", "snowing", 10, 10, ("place",), (("", "", ""),), (None,))
    answer = texts(sample, Contrast("standing", {}))
    assert "snowing" in answer[KINDS[0]]
    assert "standing" in answer[KINDS[3]]
    assert all(
        accepted(kind, text, sample, Contrast("standing", {}), VOCABULARY) for kind, text in answer.items()
    )


def test_only_the_kinds_asked_for_are_answered() -> None:
    full = request(jumping(), CONTRAST)
    asked = KINDS[1:2]
    schema = {"type": "object", "properties": {kind.field: {} for kind in asked}}
    again = type(full)(**{**{name: getattr(full, name) for name in full.__slots__}, "schema": schema})
    (answer,) = TemplateEngine(VOCABULARY).answer([again])
    assert list(json.loads(answer.text)) == ["negative_glimpse"]


def accepted(kind: Kind, text: str, sample: Sample, contrast: Contrast, vocabulary: Vocabulary) -> bool:
    held_out = frozenset(vocabulary.verbs) - {sample.verb, contrast.verb}
    verdict = judge(kind, text, sample, contrast, vocabulary, held_out, JudgeSettings())
    assert verdict.accepted, (verdict.reason, kind, text, sample)
    return True


def every_kind_is_accepted(
    sample: Sample, chooser: ContrastChooser, vocabulary: Vocabulary, seed: int
) -> None:
    """The strictest case: every verb but the two of the picture is held out."""
    contrast = chooser.choose(sample)
    (answer,) = TemplateEngine(vocabulary).answer([request(sample, contrast, vocabulary, seed)])
    for kind, text in parse_answer(answer.text).items():
        accepted(kind, text, sample, contrast, vocabulary)


@lru_cache
def chooser_over(vocabulary_name: str) -> tuple[Vocabulary, ContrastChooser]:
    vocabulary = swig_vocabulary() if vocabulary_name == "swig" else VOCABULARY
    vectors = np.random.default_rng(0).normal(size=(len(vocabulary.verbs), 8)).astype(np.float32)
    known = sorted(vocabulary.glosses)
    nouns = {
        role: RoleUse(dict.fromkeys(known[i % 40 :: 40] + known[:20], 1), {})
        for i, role in enumerate(vocabulary.roles)
    }
    return vocabulary, ContrastChooser(
        vocabulary, vectors, dict.fromkeys(vocabulary.verbs, 1), nouns, k=4, seed=0
    )


@settings(max_examples=150, deadline=None)
@given(samples(VOCABULARY), st.integers(0, 2**31 - 1))
def test_the_judge_accepts_every_text_over_a_small_vocabulary(sample: Sample, seed: int) -> None:
    vocabulary, chooser = chooser_over("small")
    every_kind_is_accepted(sample, chooser, vocabulary, seed)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_judge_accepts_every_text_over_the_published_vocabulary(data: st.DataObject) -> None:
    vocabulary, chooser = chooser_over("swig")
    sample = data.draw(samples(vocabulary))
    every_kind_is_accepted(sample, chooser, vocabulary, data.draw(st.integers(0, 2**31 - 1)))


def test_the_judge_accepts_every_published_verb_fully_filled() -> None:
    vocabulary, chooser = chooser_over("swig")
    nouns = sorted(vocabulary.glosses)
    for number, verb in enumerate(vocabulary.verbs):
        roles = vocabulary.frames[verb].roles
        filled = tuple((nouns[(number * 7 + i) % len(nouns)],) * 3 for i in range(len(roles)))
        sample = Sample(f"{verb}.jpg", "train", verb, 9, 9, roles, filled, (None,) * len(roles))
        every_kind_is_accepted(sample, chooser, vocabulary, number)
