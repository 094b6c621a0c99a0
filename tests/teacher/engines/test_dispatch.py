"""Which endpoint is asked what and when, in rounds without threads, sockets or real time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import MachineError
from stages.teacher.engines.call_thread import CallThread
from stages.teacher.engines.chat import Reply
from stages.teacher.engines.dispatch import Dispatch
from stages.teacher.engines.endpoint import Endpoint, FaultyError
from stages.teacher.engines.engine import Answer, Contrast, Request
from stages.teacher.engines.seat import DEATHS
from stages.teacher.engines.server_settings import ServerSettings
from tests.teacher.examples import jumping, request

T = TypeVar("T")


class Rounds(CallThread):
    """Thread and clock in one: whenever an outcome is waited for, all open calls run side by side.

    tick  seconds a round takes
    """

    def __init__(self, tick: float = 0.0) -> None:
        self.time, self.tick = 0.0, tick
        self.calls: list[tuple[Coroutine[Any, Any, Any], Future[Any]]] = []

    def submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        future: Future[T] = Future()
        self.calls.append((call, future))
        return future

    def now(self) -> float:
        return self.time

    def wait(self, inbox: SimpleQueue[T], seconds: float | None, calls: int) -> T | None:
        if inbox.empty() and self.calls:
            self.time += self.tick
            asyncio.run(self._round())
        if not inbox.empty():
            return inbox.get()
        assert not calls
        assert seconds is not None, "waits for ever"
        self.time += seconds
        return None

    async def _round(self) -> None:
        calls, self.calls = self.calls, []
        results = await asyncio.gather(*(call for call, _ in calls), return_exceptions=True)
        for (_, future), result in zip(calls, results, strict=True):
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)


class World(Endpoint):
    """An endpoint that a request of `poison` takes down, with all that are open beside it.

    ill  that many next questions for its health fail
    """

    def __init__(self, poison: frozenset[str] = frozenset(), ill: int = 0) -> None:
        self.url = "http://world/v1"
        self.poison, self.ill = poison, ill
        self.inside: set[str] = set()

    async def check(self, model: str) -> None:
        if self.ill:
            self.ill -= 1
            raise FaultyError("http://world/v1 is ill")

    async def ask(self, request: Request) -> tuple[Reply, float]:  # type: ignore[override]
        self.inside.add(request.key)
        await asyncio.sleep(0)  # until all calls of this round are inside
        killed = bool(self.inside & self.poison)
        await asyncio.sleep(0)
        self.inside.discard(request.key)
        if killed:
            self.ill = 1
            raise FaultyError("http://world/v1 broke off")
        return Reply(f"answer {request.key}", "stop"), 1.0


async def ask(endpoint: Endpoint, asked: Request) -> tuple[Reply, float]:
    assert isinstance(endpoint, World)
    return await endpoint.ask(asked)


def play(world: World, count: int, rounds: Rounds | None = None, **fields: Any) -> list[Answer]:
    rounds = rounds or Rounds()
    settings = ServerSettings.model_validate({"retries": 0, **fields})
    plain = request(jumping(), Contrast("diving", {}))
    requests = (replace(plain, key=str(number)) for number in range(count))
    return list(Dispatch([world], "m", ask, settings, rounds, rounds, lambda line: None).answers(requests))


@given(st.integers(1, 30), st.integers(1, 10), st.integers(0, 29))
def test_a_request_that_kills_its_endpoint_costs_no_other_row(
    count: int, concurrency: int, poison: int
) -> None:
    found = play(World(frozenset({str(poison)})), count, concurrency=concurrency)
    assert sorted(int(answer.key) for answer in found) == list(range(count))
    for answer in found:
        if answer.key == str(poison):
            assert answer.error == f"an endpoint died {DEATHS} times under it (http://world/v1 broke off)"
        else:
            assert answer.text == f"answer {answer.key}"


def test_a_request_that_never_arrived_killed_nothing() -> None:
    class Closed(World):
        tries = 0

        async def ask(self, request: Request) -> tuple[Reply, float]:  # type: ignore[override]
            self.tries += 1
            if self.tries <= 4 * DEATHS:
                self.ill = 1
                raise FaultyError("http://world/v1 is out of reach", arrived=False)
            return await super().ask(request)

    assert [answer.text for answer in play(Closed(), 2, concurrency=1)] == ["answer 0", "answer 1"]


def test_a_long_run_over_a_living_endpoint_does_not_end() -> None:
    rounds = Rounds(tick=50)
    assert len(play(World(), 20, rounds, concurrency=1, dead_after_seconds=300)) == 20
    assert rounds.time > 1000


def test_only_time_without_any_endpoint_counts_as_dead() -> None:
    """Ill for 50 seconds at each of five deaths: more than the bound together, less each time."""

    class Slow(World):
        async def ask(self, request: Request) -> tuple[Reply, float]:  # type: ignore[override]
            try:
                return await super().ask(request)
            except FaultyError:
                self.ill = 10
                raise

    found = play(Slow(frozenset({"0"})), 3, concurrency=1, dead_after_seconds=60)
    assert {answer.key: answer.finish_reason for answer in found} == {"0": "error", "1": "stop", "2": "stop"}
    with pytest.raises(MachineError, match="alive for 40 seconds: http://world/v1 is ill"):
        play(Slow(frozenset({"0"})), 3, concurrency=1, dead_after_seconds=40)
