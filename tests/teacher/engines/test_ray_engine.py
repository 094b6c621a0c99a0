"""Two real Ray workers on a cluster of this machine alone, with the template engine and with faulty ones."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from cache.errors import MachineError, UserError
from stages.plural import counted
from stages.teacher.engines.engine import Answer, Request
from stages.teacher.engines.engine_worker import Maker, Say
from stages.teacher.engines.ray_engine import RayEngine
from stages.teacher.engines.ray_output import StdoutWithoutRay, give_stdout_back, keep_ray_off_stdout
from stages.teacher.engines.ray_settings import RaySettings
from tests.teacher.copied_engines import Lookahead, faulty, lookahead, numbered, template

ray = pytest.importorskip("ray", reason="needs ray; install '.[ray]'")

SETTINGS = RaySettings(workers=2, gpus_per_worker=0, cpus_per_worker=0.25, requests_per_shard=7, restarts=1)
Open = Callable[..., RayEngine]


@dataclass
class Seen:
    """What the module's cluster was started with, and what its engines said."""

    terminate: object = None
    lines: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Seen]:
    """A cluster that its first engine starts, and that the others join."""
    seen = Seen(terminate=signal.getsignal(signal.SIGTERM))
    first = RayEngine(lookahead(3), SETTINGS, seen.lines.append)
    assert len(list(first.answer(numbered(1)))) == 1
    yield seen
    first.close()
    assert not ray.is_initialized()
    assert any("closed its engine" in line for line in seen.lines if line.startswith("worker 1 of 2"))


@pytest.fixture
def opened(cluster: Seen) -> Iterator[Open]:
    engines: list[RayEngine] = []

    def make(maker: Maker, say: Say | None = None, **changes: object) -> RayEngine:
        engines.append(RayEngine(maker, SETTINGS.model_copy(update=changes), say))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def texts(answers: Iterable[Answer]) -> dict[str, str]:
    found = [(answer.key, answer.text) for answer in answers]
    assert len(found) == len(dict(found)), "a request was answered twice"
    return dict(found)


def in_process(requests: list[Request]) -> dict[str, str]:
    return texts(template(print).answer(requests))


def test_the_answers_are_those_of_one_engine_and_both_workers_give_them(opened: Open) -> None:
    requests = numbered(100)  # the last shard is smaller
    engine = opened(lookahead(3))
    answers = list(engine.answer(requests))
    assert texts(answers) == in_process(requests)
    assert len({answer.error for answer in answers}) == 2
    assert texts(engine.answer(requests[:3])) == in_process(requests[:3])
    assert engine.identity() == template(print).identity()


def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(opened: Open, tmp_path: Path) -> None:
    requests, mark = numbered(100), tmp_path / "killed"
    assert texts(opened(faulty("37", "exit", mark)).answer(requests)) == in_process(requests)
    assert mark.exists()


def test_an_engine_that_dies_in_its_worker_is_loaded_anew(opened: Open, tmp_path: Path) -> None:
    requests, mark = numbered(30), tmp_path / "died"
    assert texts(opened(faulty("17", "machine", mark)).answer(requests)) == in_process(requests)
    assert mark.exists()


@pytest.mark.parametrize(
    ("key", "how", "why", "workers"),
    [("37", "exit", "The actor died", 2), ("3", "machine", "the engine died", 1), ("99", "exit", "actor", 1)],
    ids=["in the middle", "the first", "the last"],
)
def test_a_shard_that_fails_again_and_again_is_set_aside_and_the_others_finish(
    opened: Open, key: str, how: str, why: str, workers: int
) -> None:
    said: list[str] = []
    requests, first = numbered(100), int(key) // 7 * 7
    poisoned = {str(number) for number in range(first, min(first + 7, 100))}
    answers = list(opened(faulty(key, how), said.append, workers=workers).answer(requests))
    failed = [answer for answer in answers if answer.finish_reason == "error"]
    assert {answer.key for answer in failed} == poisoned
    assert texts([answer for answer in answers if answer not in failed]) == in_process(
        [asked for asked in requests if asked.key not in poisoned]
    )
    (line,) = [line for line in said if "set aside" in line]
    name = f"the shard of {counted(len(poisoned), 'request')} from jumping_1.jpg to jumping_1.jpg"
    assert line.startswith(f"{name} set aside: ")
    assert "it failed 2 times on the Ray cluster" in line
    assert why in line
    assert line.endswith("generate-rationales --retry-failed --set teacher.ray.requests_per_shard=1`")
    assert all(why in answer.error for answer in failed)


def test_where_every_shard_fails_the_cluster_is_at_fault(opened: Open) -> None:
    engine = opened(faulty("", "machine"), restarts=0)
    with pytest.raises(MachineError, match="the engine died") as found:
        list(engine.answer(numbered(100)))
    assert "a shard of 7 requests failed on the Ray cluster, repeated 0 times" in str(found.value)
    assert "Everything finished is kept: run the same command again" in str(found.value)
    with pytest.raises(MachineError, match="the engine died"):
        list(engine.answer(numbered(7)))  # one shard, and none that shows whether it is to blame


def test_the_users_mistake_is_told_as_one(opened: Open) -> None:
    with pytest.raises(UserError, match=r"^a Ray worker: no model folder here$"):
        list(opened(faulty("0", "user")).answer(numbered(5)))


class Unmakeable(Lookahead):
    """An engine that can be made here and not in a worker."""

    def __init__(self, here: int, say: Say) -> None:
        if threading.get_native_id() != here:
            raise KeyError("no such device")
        super().__init__(1, say)


def test_a_worker_that_cannot_make_its_engine_says_why(opened: Open) -> None:
    engine = opened(partial(Unmakeable, threading.get_native_id()), restarts=0)
    with pytest.raises(MachineError, match="a worker could not be made: KeyError: 'no such device'"):
        list(engine.answer(numbered(5)))


def test_the_source_is_taken_two_shards_ahead_of_each_worker(opened: Open) -> None:
    taken = 0

    def source() -> Iterator[Request]:
        nonlocal taken
        for request in numbered(500):
            taken += 1
            yield request

    next(opened(template).answer(source()))
    assert taken == 2 * 2 * 7


def test_answers_to_a_call_broken_off_do_not_come_later(opened: Open) -> None:
    requests = numbered(200)
    engine = opened(template)
    next(engine.answer(requests[:100]))
    assert texts(engine.answer(requests[100:])) == in_process(requests[100:])


def test_workers_that_find_no_place_are_refused_rather_than_waited_for(opened: Open) -> None:
    engine = opened(template, gpus_per_worker=500.0)
    with pytest.raises(UserError, match=r"2 workers need 1000 GPUs of \d+ in the Ray cluster; lower"):
        list(engine.answer(numbered(1)))


def test_ray_leaves_the_terminate_signal_as_it_was(cluster: Seen) -> None:
    assert signal.getsignal(signal.SIGTERM) == cluster.terminate


def test_what_ray_prints_does_not_reach_stdout(cluster: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    keep_ray_off_stdout()
    keep_ray_off_stdout()
    printing = [thread.name for thread in threading.enumerate() if thread.name.startswith("ray_")]
    assert "ray_listen_error_messages" in printing, "Ray prints in another thread than it did"
    thread = threading.Thread(target=lambda: sys.stdout.write("spam\n"), name=printing[0])
    thread.start()
    thread.join()
    sys.stdout.write("result\n")
    give_stdout_back()
    assert not isinstance(sys.stdout, StdoutWithoutRay)
    assert out.getvalue() == "result\n"
    assert err.getvalue() == "spam\n"


def test_without_ray_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.teacher.engines.ray_engine.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ray is not installed; .*pip install 'mipd-pipe\[ray\]'"):
        list(RayEngine(template, SETTINGS).answer(numbered(1)))
