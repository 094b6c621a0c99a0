"""Many dialogues over two engines: who is asked when, how many are open, when it is not worth going on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from cache.errors import FindingsError
from cache.kinds import KINDS
from stages.data.sample import Sample
from stages.teacher.asking.dialogue import Dialogue, Prior
from stages.teacher.asking.part_buffer import PartBuffer
from stages.teacher.asking.talk import Talk
from stages.teacher.engines.engine import Answer, Contrast, Engine, Engines, Request
from stages.teacher.settings import JudgeSettings, TeacherSettings
from tests.teacher.examples import jumping, request


@dataclass
class TwoStep:
    """A picture that is written, then judged, and then finished; it says so in `log`."""

    sample: Sample
    log: list[str]
    is_first: bool = True
    finished: bool = False
    rows: tuple[()] = ()
    failure: None = None
    was_useful: bool = False

    def begin(self) -> list[Request]:
        self.log.append(f"begin {self.sample.image}")
        return [replace(request(self.sample, Contrast("diving", {})), key=self.sample.image)]

    def take(self, answer: Answer) -> list[Request]:
        if answer.key.endswith(" judged"):
            self.finished = True
            return []
        asked = request(self.sample, Contrast("diving", {}))
        return [replace(asked, key=f"{answer.key} judged", judged={KINDS[0]: "A text."})]


class OneByOne:
    """Takes a request when the last one is answered."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for asked in requests:
            self._log.append(f"{self._name} {asked.key}")
            yield Answer(asked.key, "{}", "stop", tokens_in=3, tokens_out=2)


class Buffer:
    def __init__(self, accepted: int) -> None:
        self.accepted, self.finished = accepted, 0

    def finish(self, *_: Any) -> None:
        self.finished += 1


def hold(
    count: int, own_judge: bool, accepted: int = 1, is_first: bool = True, **settings: Any
) -> tuple[list[str], Talk, Buffer]:
    log: list[str] = []
    buffer = Buffer(accepted)
    judge = None if own_judge else cast(Engine, OneByOne("judge", log))
    talk = Talk(
        Engines(cast(Engine, OneByOne("write", log)), judge),
        TeacherSettings(**settings),
        lambda sample, _: cast(Dialogue, TwoStep(sample, log, is_first)),
        cast(PartBuffer, buffer),
    )
    samples = [replace(jumping(), image=str(number)) for number in range(count)]
    talk.hold(((sample, Prior()) for sample in samples), lambda _: None)
    return log, talk, buffer


def test_a_picture_is_finished_before_the_next_begins_where_one_engine_does_both() -> None:
    log, talk, buffer = hold(3, own_judge=True)
    assert log == [line for n in range(3) for line in (f"begin {n}", f"write {n}", f"write {n} judged")], (
        "few pictures are open at a time"
    )
    assert (talk.begun, talk.requests, talk.tokens_in, talk.tokens_out) == (3, 6, 18, 12)
    assert buffer.finished == 3


@pytest.mark.parametrize("bound", [1, 4])
def test_no_more_than_so_many_pictures_wait_for_a_judge_of_its_own(bound: int) -> None:
    log, _, buffer = hold(10, own_judge=False, judge=JudgeSettings(pictures_at_once=bound))
    waiting = most = 0
    for line in log:
        waiting += line.startswith("write") - line.startswith("judge")
        most = max(most, waiting)
    assert most == bound
    assert buffer.finished == 10


def test_a_teacher_whose_first_pictures_bring_nothing_is_given_up() -> None:
    with pytest.raises(FindingsError, match=r"the first 2 pictures gave not one accepted rationale"):
        hold(5, own_judge=True, accepted=0, give_up_after=2)
    for harmless in ({"accepted": 1}, {"is_first": False}):
        given: dict[str, Any] = {"accepted": 0, "give_up_after": 2, **harmless}
        assert hold(5, own_judge=True, **given)[2].finished == 5, "hard ones of before show nothing"
