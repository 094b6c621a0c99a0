"""An engine that ignores schemas is found out before the real work."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from cache.errors import MachineError, UserError
from stages.teacher.engines.canary import check_schema_is_obeyed
from stages.teacher.engines.engine import Answer, Contrast, Request
from tests.teacher.examples import VOCABULARY, jumping, request
from tests.teacher.faulty_engine import FaultyEngine

EXAMPLES = [request(jumping(), Contrast("diving", {}))] * 3


def engine(text: Callable[[Request], str]) -> FaultyEngine:
    return FaultyEngine(VOCABULARY, lambda request: Answer(request.key, text(request), "stop"))


def test_an_answer_in_the_schema_passes() -> None:
    obedient = engine(lambda request: json.dumps({"seal": request.schema["properties"]["seal"]["enum"][0]}))
    check_schema_is_obeyed(obedient, EXAMPLES, "teacher")
    (asked,) = obedient.asked
    words = asked.schema["properties"]["seal"]["enum"]
    prompt = asked.prompt
    assert not any(word in f"{prompt.system} {prompt.shared} {prompt.question}" for word in words)
    assert asked.greedy


@pytest.mark.parametrize("text", ["A man jumps.", '{"seal": "gull"}', '{"seal": "tern", "more": 1}', ""])
def test_any_other_answer_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(UserError) as caught:
        check_schema_is_obeyed(engine(lambda _: text), EXAMPLES, "judge")
    message = str(caught.value)
    assert message.startswith("the judge does not hold its answers to a JSON schema")
    assert ascii(text) in message
    assert "--structured-outputs-config" in message


def test_a_picture_that_the_engine_refuses_is_no_verdict_on_it() -> None:
    answers = iter([("", "error"), ('{"seal": "wren"}', "stop")])

    def fault(request: Request) -> Answer:
        text, reason = next(answers)
        return Answer(request.key, text, reason, error="too large")  # type: ignore[arg-type]

    check_schema_is_obeyed(FaultyEngine(VOCABULARY, fault), EXAMPLES, "teacher")


def test_an_engine_that_answers_nothing_is_a_fault_of_the_machine() -> None:
    mute = FaultyEngine(VOCABULARY, lambda request: Answer(request.key, "", "error", error="no memory"))
    with pytest.raises(MachineError, match=r"the teacher answered none of 3 trial requests \(no memory\)"):
        check_schema_is_obeyed(mute, EXAMPLES, "teacher")


def test_a_picture_that_failed_before_need_not_be_answered() -> None:
    mute = FaultyEngine(VOCABULARY, lambda request: Answer(request.key, "", "error", error="too large"))
    check_schema_is_obeyed(mute, EXAMPLES, "teacher", must_answer=False)
    with pytest.raises(UserError):
        check_schema_is_obeyed(engine(lambda _: "A man jumps."), EXAMPLES, "teacher", must_answer=False)


def cut(text: str, needed: int) -> FaultyEngine:
    """An engine whose answer is whole with `needed` times its limit of tokens, and cut to `text` below."""

    def fault(request: Request) -> Answer:
        whole = request.token_factor >= needed
        return Answer(request.key, '{"seal": "tern"}' if whole else text, "stop" if whole else "length", 9, 4)

    return FaultyEngine(VOCABULARY, fault)


def test_an_answer_that_was_cut_is_tried_again_with_more_tokens() -> None:
    engine = cut('{"se', needed=2)
    check_schema_is_obeyed(engine, EXAMPLES, "teacher")
    assert [request.token_factor for request in engine.asked] == [1, 2]


@pytest.mark.parametrize("text", ["", "{", '{"seal": "te', '{ "seal"  :'])
def test_an_answer_that_is_cut_again_is_no_disobedience(text: str) -> None:
    with pytest.raises(UserError) as caught:
        check_schema_is_obeyed(cut(text, needed=3), EXAMPLES, "judge")
    message = str(caught.value)
    assert message.startswith("the judge was cut at its limit of tokens, and again at twice that")
    assert f"it wrote 4 tokens, and of the answer {text!a}" in message
    assert "max_tokens of the judge is too small" in message
    assert "JSON schema" not in message


@pytest.mark.parametrize("text", ["A man jumps over", '{"seal": "gull', '{"photo'])
def test_a_cut_answer_in_prose_is_disobedience(text: str) -> None:
    with pytest.raises(UserError, match="the teacher does not hold its answers to a JSON schema"):
        check_schema_is_obeyed(cut(text, needed=3), EXAMPLES, "teacher")
