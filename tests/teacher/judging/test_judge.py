from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from cache.kinds import KINDS, Kind
from stages.data.sample import Sample
from stages.teacher.engines.engine import Contrast
from stages.teacher.judging.judge import Verdict, judge
from stages.teacher.settings import JudgeSettings
from tests.teacher.examples import VOCABULARY, jumping

GLIMPSE, NOT_GLIMPSE, GAZE, NOT_GAZE = KINDS
CONTRAST = Contrast("diving", {"agent": "n00000003", "destination": "n00000011"})


def verdict(
    kind: Kind, text: str, sample: Sample | None = None, held_out: frozenset[str] = frozenset()
) -> Verdict:
    return judge(kind, text, sample or jumping(), CONTRAST, VOCABULARY, held_out, JudgeSettings())


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (GLIMPSE, "A man is jumping from a rock into the water below him."),
        (GLIMPSE, "A man hangs in the air above the water, legs drawn up."),
        (GLIMPSE, "People standing by the pool watch a man who is jumping in."),
        (GLIMPSE, "A man standing on a rock leaps into the water below him."),
        (GLIMPSE, "The body is upright, so he is jumping and not diving."),
        (GLIMPSE, "He jumps feet first beside the building with the swimming pool."),
        (NOT_GLIMPSE, "A man is diving head first into the water outdoors."),
        (NOT_GLIMPSE, "A man dove head first into the water, not jumping at all."),
        (NOT_GLIMPSE, "It looks as if the man is diving rather than jumping."),
        (NOT_GLIMPSE, "A man plunges into the water head first, arms stretched out."),
        (GAZE, "The man hangs in the centre, small, above the water."),
        (NOT_GAZE, "A horse stands in the centre, with a field under it."),
        (NOT_GAZE, "A horse and not a man stands in the field below."),
        (NOT_GAZE, "Some animal stands in the centre, in front of a meadow."),
    ],
)
def test_texts_that_fit_are_accepted(kind: Kind, text: str) -> None:
    assert verdict(kind, text) == Verdict(True, None, "")


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (GAZE, "", "the text is empty"),
        (GAZE, " ... !", "the text is empty"),
        (GAZE, "A man.", "the text has 2 words, fewer than 5"),
        (GAZE, " ".join(f"word{n}" for n in range(161)), "the text has 161 words, more than 160"),
        (GAZE, "I'm sorry, but I cannot see who is in this picture.", "the text refuses to answer"),
        (GAZE, "I can\u2019t tell what the person in the picture is doing.", "the text refuses to answer"),
        (GAZE, "As an AI language model the picture shows me a man.", "the text refuses to answer"),
        (GAZE, "The man the man the man the man the man is here.", "the text repeats itself"),
        (GAZE, "Look: a man on a rock, a man on a rock, a man on a rock.", "the text repeats itself"),
        (GAZE, "so so so so so it goes on and on here.", "the text repeats itself"),
        (GLIMPSE, "A man is diving into the water below him.", "the text describes diving, not jumping"),
        (GLIMPSE, "Here the man and the woman are both diving in.", "the text describes diving, not jumping"),
        (GLIMPSE, "A man is clearly diving, not jumping, into it.", "the text describes diving, not jumping"),
        (GLIMPSE, "The picture shows the activity of diving.", "the text describes diving, not jumping"),
        (
            NOT_GLIMPSE,
            "A man is jumping from a rock into the water.",
            "the text describes jumping, the true activity, and does not name diving",
        ),
        (
            NOT_GAZE,
            "The man hangs small in the centre of it all.",
            "the text names man, which is right, and none of the wrong nouns",
        ),
    ],
)
def test_texts_that_do_not_fit_say_why(kind: Kind, text: str, reason: str) -> None:
    assert verdict(kind, text) == Verdict(False, None, reason)


def test_the_wrong_verb_may_stand_in_the_form_of_its_sentence() -> None:
    swims = Contrast("swimming", {})
    text = "A man swims in the water after jumping about."
    assert judge(NOT_GLIMPSE, text, jumping(), swims, VOCABULARY, frozenset(), JudgeSettings()).accepted
    assert not verdict(NOT_GLIMPSE, text).accepted


def test_long_runs_that_return_are_circles_even_with_words_between() -> None:
    seen = "a man is seen at the left of the big picture"
    text = " ".join(f"{('and', 'then', 'so')[n % 3]} {seen}" for n in range(9))
    assert verdict(GAZE, text).reason == "the text repeats itself"


@pytest.mark.parametrize("kind", KINDS)
def test_a_held_out_verb_is_never_named(kind: Kind) -> None:
    text = "A man and a horse, jumping or diving, while others are swimming here."
    assert verdict(kind, text).accepted
    rejected = verdict(kind, text, held_out=frozenset({"swimming"}))
    assert rejected.reason == "the text names swimming, a verb that training must not see"


def test_a_noun_of_the_annotation_does_not_name_a_verb() -> None:
    sample = jumping({"agent": "n00000001", "place": "n00000008"})
    held_out = frozenset({"swimming"})
    assert verdict(GLIMPSE, "A man is jumping into the swimming pool.", sample, held_out).accepted
    assert not verdict(GLIMPSE, "A man is jumping beside a swimming man.", sample, held_out).accepted
    assert not verdict(GLIMPSE, "A man is jumping into the swimming pool.", held_out=held_out).accepted


def test_a_verb_put_together_names_its_parts() -> None:
    roles = VOCABULARY.frames["jumping-over-waving"].roles
    nouns = (("n00000001",) * 3, ("n00000005",) * 3, ("", "", ""))
    sample = Sample("a.jpg", "train", "jumping-over-waving", 9, 9, roles, nouns, (None,) * 3)
    held_out = frozenset({"jumping", "jumping-over"})
    assert verdict(GLIMPSE, "A man is jumping over a fence, waving a flag.", sample, held_out).accepted
    contrast_only = verdict(GLIMPSE, "A man is jumping over a fence.", jumping({}), frozenset({"standing"}))
    assert contrast_only.accepted


def test_the_longest_verb_is_named_in_whatever_order_the_vocabulary_has_them() -> None:
    text, held_out = "A horse is jumping over the fence here.", frozenset({"jumping-over"})
    sample = replace(jumping(), verb="standing")
    for verbs in (VOCABULARY.verbs, VOCABULARY.verbs[::-1]):
        vocabulary = replace(VOCABULARY, verbs=verbs)
        found = judge(GAZE, text, sample, CONTRAST, vocabulary, held_out, JudgeSettings())
        assert found.reason == "the text names jumping-over, a verb that training must not see"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "A horse and a man are **diving** here.",
            "the text holds markup ('**'); plain sentences are wanted",
        ),
        ("Ein Mann springt vom Steg in den See.", "the text is in another language (de) than en"),
        ("A horse and a man are diving into the", "the text is cut off in the middle of a sentence"),
        ("A horse and a man are both diving int", "the text is cut off in the middle of a sentence"),
    ],
)
def test_faults_of_form_are_rejected_in_every_kind(kind: Kind, text: str, reason: str) -> None:
    held_out, limit = frozenset({"diving"}), len("A horse and a man are both diving int")
    found = judge(kind, text, jumping(), CONTRAST, VOCABULARY, held_out, JudgeSettings(), limit)
    assert found == Verdict(False, None, reason)  # before the verb that must not be named


def test_the_bounds_are_settings() -> None:
    strict = JudgeSettings(min_words=9, max_words=10)
    text = "A man is jumping into the water."
    reason = judge(GLIMPSE, text, jumping(), CONTRAST, VOCABULARY, frozenset(), strict).reason
    assert reason == "the text has 7 words, fewer than 9"


def test_bounds_that_let_nothing_pass_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_words 9 is above max_words 3"):
        JudgeSettings(min_words=9, max_words=3)
