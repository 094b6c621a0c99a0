"""What happens to one picture between its first request and its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cache.kinds import KINDS, Kind
from pipeline.config import Config
from pipeline.stage_one import make_generator
from pipeline.workspace import Workspace
from stages.teacher.asking.dialogue import Dialogue, Prior
from stages.teacher.engines.engine import Answer, FinishReason, Request

GLIMPSE, NOT_GLIMPSE, GAZE, NOT_GAZE = KINDS

Begin = Callable[..., Dialogue]


@pytest.fixture
def begin(tmp_path: Path, small_config: Callable[..., Config]) -> Begin:
    """Begins the dialogue of the first training picture under further settings."""

    def begin(*settings: str, prior: Prior | None = None) -> Dialogue:
        with make_generator(Workspace(small_config(tmp_path / "run", *settings))) as generator:
            ((sample, first), *_) = generator.plan().todo
            return generator.begin(sample, prior or first)

    return begin


def text_of(request: Request, **changed: str) -> Answer:
    """A good answer to a request, with some fields changed."""
    good = {
        "positive_glimpse": f"Everything in this picture says that it shows {request.sample.verb}.",
        "negative_glimpse": f"A hasty viewer may well take it for {request.contrast.verb} at first.",
        "positive_gaze": "At the left of the picture stands what fills the first role.",
        "negative_gaze": "Something quite different might be standing at the left side there.",
    }
    fields = {name: changed.get(name, good[name]) for name in request.schema["properties"]}
    return Answer(request.key, json.dumps(fields), "stop", tokens_in=7, tokens_out=5)


def spoilt(request: Request, text: str = "", reason: FinishReason = "stop", error: str = "") -> Answer:
    return Answer(request.key, text, reason, error=error)


def statuses(dialogue: Dialogue) -> list[tuple[Kind, int, str]]:
    return [(Kind(row.aspect, row.polarity), row.attempt, row.status) for row in dialogue.rows]


def test_four_good_texts_finish_a_picture(begin: Begin) -> None:
    dialogue = begin()
    (request,) = dialogue.begin()
    open_before = not dialogue.finished
    assert dialogue.take(text_of(request)) == []
    assert open_before
    assert dialogue.finished
    assert statuses(dialogue) == [(kind, 0, "accepted") for kind in KINDS]
    assert {row.tokens_in for row in dialogue.rows} == {7}
    assert dialogue.failure is None


def test_a_rejected_text_alone_is_asked_for_again_with_the_reason(begin: Begin) -> None:
    dialogue = begin()
    (request,) = dialogue.begin()
    (again,) = dialogue.take(text_of(request, positive_gaze="Too short."))
    assert list(again.schema["properties"]) == ["positive_gaze"]
    assert "- positive_gaze: the text has 2 words, fewer than 5" in again.prompt.question
    assert (again.seed, again.key) != (request.seed, request.key)
    assert dialogue.take(text_of(again)) == []
    assert statuses(dialogue)[2] == (GAZE, 0, "rejected")
    assert statuses(dialogue)[-1] == (GAZE, 1, "accepted")
    assert len(dialogue.rows) == 5


def test_attempts_are_bounded_and_what_stays_rejected_is_marked(begin: Begin) -> None:
    dialogue = begin("teacher.judge.max_attempts=2")
    (request,) = dialogue.begin()
    (again,) = dialogue.take(text_of(request, positive_gaze=""))
    assert dialogue.take(text_of(again, positive_gaze="")) == []
    assert dialogue.finished
    assert statuses(dialogue)[-1] == (GAZE, 1, "rejected")
    assert dialogue.failure is None


def test_an_answer_cut_at_the_limit_is_asked_for_once_with_more_tokens(begin: Begin) -> None:
    dialogue = begin()
    (request,) = dialogue.begin()
    (longer,) = dialogue.take(spoilt(request, '{"positive_gl', "length"))
    assert longer == replace(request, key=longer.key, token_factor=2)
    assert longer.key != request.key
    assert dialogue.take(spoilt(longer, '{"positive_glimpse": "on and', "length")) == []
    assert dialogue.finished
    assert dialogue.rows == []
    assert dialogue.failure is not None
    assert dialogue.failure.raw == '{"positive_glimpse": "on and'
    assert dialogue.failure.attempts == 1
    assert dialogue.failure.reason == (
        "the answer was cut at the engine's token limit, and again at twice that"
    )


def test_a_longer_answer_that_is_whole_counts(begin: Begin) -> None:
    dialogue = begin()
    (request,) = dialogue.begin()
    (longer,) = dialogue.take(spoilt(request, "{", "length"))
    assert dialogue.take(text_of(longer)) == []
    assert statuses(dialogue) == [(kind, 0, "accepted") for kind in KINDS]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("It shows a man.", "not JSON (Expecting value: line 1 column 1 (char 0)): 'It shows a man.'"),
        (" \n\t" * 500, "not JSON (Expecting value: line 1 column 1 (char 0)): ''"),
        ('{"positive_glimpse": "a"}', "field 'negative_glimpse' is missing"),
        (
            json.dumps({kind.field: " \u0007\n " for kind in KINDS}),
            "the answer holds nothing but white space",
        ),
    ],
)
def test_a_picture_without_any_text_goes_to_quarantine_with_the_raw_answer(
    begin: Begin, text: str, reason: str
) -> None:
    dialogue = begin("teacher.judge.max_attempts=2")
    (request,) = dialogue.begin()
    (again,) = dialogue.take(spoilt(request, text))
    assert dialogue.take(spoilt(again, text)) == []
    failure = dialogue.failure
    assert dialogue.rows == []
    assert failure is not None
    assert (failure.reason, failure.raw, failure.attempts) == (reason, text, 2)


def test_an_unreadable_attempt_before_a_good_one_is_a_row_too(begin: Begin) -> None:
    dialogue = begin()
    (request,) = dialogue.begin()
    (again,) = dialogue.take(spoilt(request, "not json"))
    assert dialogue.take(text_of(again)) == []
    assert [status for _, attempt, status in statuses(dialogue) if attempt == 0] == ["rejected"] * 4
    assert [status for _, attempt, status in statuses(dialogue) if attempt == 1] == ["accepted"] * 4


def test_an_engine_that_gives_no_answer_is_not_asked_the_same_again(begin: Begin) -> None:
    dialogue = begin()
    (request,) = dialogue.begin()
    assert dialogue.take(spoilt(request, "", "error", "the picture is too large")) == []
    assert dialogue.failure is not None
    assert dialogue.failure.reason == "the engine gave no answer: the picture is too large"


def test_separate_requests_ask_for_one_rationale_each(begin: Begin) -> None:
    dialogue = begin("teacher.requests=separate")
    requests = dialogue.begin()
    assert [list(request.schema["properties"]) for request in requests] == [[kind.field] for kind in KINDS]
    assert len({request.seed for request in requests}) == len({request.key for request in requests}) == 4
    assert "order: positive_gaze." in requests[2].prompt.question
    (again,) = (
        dialogue.take(text_of(requests[3]))
        + dialogue.take(spoilt(requests[0], "", "error", "dropped"))
        + dialogue.take(text_of(requests[1]))
        + dialogue.take(text_of(requests[2], positive_gaze="Short."))
    )
    assert list(again.schema["properties"]) == ["positive_gaze"], "after the last answer"
    assert dialogue.take(text_of(again)) == []
    accepted = {kind for kind, _, status in statuses(dialogue) if status == "accepted"}
    assert accepted == {NOT_GLIMPSE, GAZE, NOT_GAZE}
    assert dialogue.failure is not None, "the lost rationale is in quarantine beside the rows"
    assert dialogue.failure.reason == "the engine gave no answer: dropped"


def test_a_picture_goes_on_where_earlier_calls_left_it(begin: Begin) -> None:
    prior = Prior(2, (NOT_GAZE,), {NOT_GAZE: "the text repeats itself"})
    dialogue = begin("teacher.judge.max_attempts=4", prior=prior)
    (request,) = dialogue.begin()
    assert list(request.schema["properties"]) == ["negative_gaze"]
    assert "- negative_gaze: the text repeats itself" in request.prompt.question
    assert dialogue.take(text_of(request)) == []
    assert statuses(dialogue) == [(NOT_GAZE, 2, "accepted")]


def test_the_seed_follows_from_image_and_attempt_alone(begin: Begin) -> None:
    (one,) = begin().begin()
    (other,) = begin("teacher.judge.max_attempts=9").begin()
    assert one.seed == other.seed
    (third,) = begin("teacher.seed=1").begin()
    assert third.seed != one.seed
