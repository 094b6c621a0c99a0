"""Engines in processes of their own: the same answers as in one, and a clear end when one of them dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cache.errors import MachineError, UserError
from stages.teacher.engines.engine import Answer, Request
from stages.teacher.engines.engine_pool import AHEAD, EnginePool
from tests.teacher.copied_engines import faulty, lookahead, numbered, template

Open = Callable[..., EnginePool]
PATIENCE = 60


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes pools and closes them, whatever a test found; ends a test whose processes wait for each other."""
    pools: list[EnginePool] = []

    def give_up(*_: object) -> None:
        raise AssertionError(f"no answer for {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)

    def make(*arguments: Any, **named: Any) -> EnginePool:
        pools.append(EnginePool(*arguments, **named))
        return pools[-1]

    yield make
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    for pool in pools:
        pool.close()
    assert not multiprocessing.active_children()


def texts(answers: Iterator[Answer] | list[Answer]) -> dict[str, str]:
    found = [(answer.key, answer.text) for answer in answers]
    assert len(found) == len(dict(found)), "a request was answered twice"
    return dict(found)


def test_the_answers_are_those_of_one_engine_and_come_once(opened: Open) -> None:
    requests = numbered(300)
    pool = opened(template, 2)
    expected = texts(template(print).answer(requests))
    assert texts(pool.answer(requests)) == expected
    assert texts(pool.answer(requests[:3])) == texts(template(print).answer(requests[:3]))


def test_both_engines_work_though_each_looks_further_ahead_than_requests_wait(opened: Open) -> None:
    lines: list[str] = []
    pool = opened(lookahead(5 * AHEAD), 2, say=lines.append)
    answers = list(pool.answer(numbered(12 * AHEAD + 7)))
    assert len(texts(answers)) == 12 * AHEAD + 7
    assert len({answer.error for answer in answers}) == 2


def test_requests_that_depend_on_answers_are_asked_too(opened: Open) -> None:
    """The source has nothing while answers are out, and more when they are back."""

    class Waiting:
        def __init__(self) -> None:
            self.ready = numbered(10)

        def __iter__(self) -> Iterator[Request]:
            return self

        def __next__(self) -> Request:
            if not self.ready:
                raise StopIteration
            return self.ready.pop()

    source, later, seen = Waiting(), numbered(40)[10:], []
    for answer in opened(lookahead(100), 2).answer(source):
        seen.append(answer.key)
        if len(seen) in (10, 25):
            source.ready, later = later[:15], later[15:]
    assert sorted(seen, key=int) == [str(number) for number in range(40)]


def test_the_source_is_taken_as_requests_are_answered(opened: Open) -> None:
    taken = 0

    def source() -> Iterator[Request]:
        nonlocal taken
        for request in numbered(20 * AHEAD):
            taken += 1
            yield request

    next(opened(template, 2).answer(source()))
    assert taken <= 2 * AHEAD + 2


def test_answers_to_a_call_broken_off_do_not_come_later(opened: Open) -> None:
    pool = opened(template, 2)
    next(pool.answer(numbered(100)))
    assert set(texts(pool.answer(numbered(200)[100:]))) == {str(number) for number in range(100, 200)}


def test_a_process_that_ends_is_named_and_what_was_finished_is_kept(opened: Open) -> None:
    kept: list[Answer] = []
    with pytest.raises(MachineError, match=r"engine \d of 2 \(process \d+\) ended with exit code 7") as found:
        kept.extend(opened(faulty("150", "exit"), 2).answer(numbered(300)))
    assert "Everything finished is kept: run the same command again" in str(found.value)
    assert "150" not in texts(kept)
    assert len(kept) > 50


def test_a_killed_process_is_noticed(opened: Open) -> None:
    answers = opened(template, 2).answer(numbered(4000))
    pid = multiprocessing.active_children()[0].pid if next(answers) else None
    assert pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(MachineError, match="was killed by SIGKILL, as the kernel does when memory runs out"):
        list(answers)


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("user", UserError, "^engine 1 of 1: no model folder here$"),
        ("machine", MachineError, "^engine 1 of 1: the engine died$"),
    ],
)
def test_what_an_engine_raises_is_raised_here(
    opened: Open, how: str, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        list(opened(faulty("3", how), 1).answer(numbered(5)))


def test_closing_lets_idle_engines_free_what_they_hold(opened: Open) -> None:
    lines: list[str] = []
    pool = opened(lookahead(1), 1, say=lines.append)
    list(pool.answer(numbered(1)))
    (process,) = multiprocessing.active_children()
    pool.close()
    pool.close()
    assert lines[0] == f"engine 1 of 1: process {process.pid} closed its engine"
    assert not process.is_alive()


def test_each_process_sees_its_own_gpus(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.teacher.engines.engine_pool.visible_gpus", lambda: ["4", "5", "6", "7"])
    answers = list(opened(lookahead(1), 2, gpus_each=2).answer(numbered(100)))
    assert {answer.error.split()[1] for answer in answers} == {"4,5", "6,7"}


def test_the_identity_is_that_of_one_engine_and_starts_no_process(opened: Open) -> None:
    pool = opened(template, 3)
    assert pool.identity() == template(print).identity()
    assert not multiprocessing.active_children()
