"""The `server` engine against real HTTP on loopback: every fault has its answer, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from cache.errors import MachineError, UserError
from cache.keys import digest_file
from stages.teacher.engines.endpoint import Endpoint, FaultyError, open_client
from stages.teacher.engines.engine import Answer, Contrast, Request
from stages.teacher.engines.server_engine import ServerEngine
from stages.teacher.engines.server_settings import ServerSettings
from tests.teacher.examples import jumping, request
from tests.teacher.scripted_server import PATIENCE, Call, PatientClock, Script, ScriptedServer

MAX_PIXELS = 10_000
KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name == "OPENAI_API_KEY" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "red.jpg"
    Image.new("RGB", (8, 6), "red").save(path)
    return path


Ask = Callable[..., list[Request]]


@pytest.fixture(scope="module")
def ask(picture: Path) -> Ask:
    """Requests with these seeds; a request's key is its seed."""

    def make(*seeds: int) -> list[Request]:
        plain = request(jumping(), Contrast("diving", {"agent": "n00000003"}))
        plain = replace(plain, picture=picture, picture_digest=digest_file(picture))
        return [replace(plain, key=str(seed), seed=seed) for seed in seeds]

    return make


@pytest.fixture
def engine() -> Iterator[Callable[..., ServerEngine]]:
    """Makes an engine over servers, with a clock that never sleeps; closes it afterwards."""
    made: list[ServerEngine] = []

    def make(
        *servers: ScriptedServer,
        clock: PatientClock | None = None,
        say: Callable[[str], None] = lambda line: None,
        **fields: Any,
    ) -> ServerEngine:
        urls = [server.url for server in servers]
        settings = ServerSettings.model_validate(
            {"urls": urls, "model": "teacher", "retries": 2, "timeout_seconds": PATIENCE, **fields}
        )
        made.append(ServerEngine(settings, MAX_PIXELS, say, clock or PatientClock()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def texts(answers: list[Answer]) -> dict[str, str]:
    """Key -> text; fails where a key has two answers."""
    assert len({answer.key for answer in answers}) == len(answers)
    return {answer.key: answer.text or f"error: {answer.error}" for answer in answers}


def all_answered(*seeds: int) -> dict[str, str]:
    return {str(seed): f"answer {seed}" for seed in seeds}


def once(fault: Script) -> Script:
    """The fault at the first try of each request, then an answer."""
    return lambda call: fault(call) if call.number == 1 else call.answer()


def only(seed: int, fault: Script) -> Script:
    return lambda call: fault(call) if call.body["seed"] == seed else call.answer()


# --- what is asked and answered -----------------------------------------------------------------------


def test_an_answer_carries_text_tokens_and_time(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as server:
        (answer,) = engine(server).answer(ask(5))
    assert (answer.key, answer.text, answer.finish_reason, answer.error) == ("5", "answer 5", "stop", "")
    assert (answer.tokens_in, answer.tokens_out) == (300, 7)
    assert 0 < answer.seconds < PATIENCE


def test_shared_text_comes_before_the_picture_and_the_question_last(ask: Ask, engine: Any) -> None:
    (asked,) = ask(5)
    with ScriptedServer() as server:
        list(engine(server, temperature=0.3, top_p=0.8, max_tokens=50).answer([asked]))
    (body,) = server.bodies
    system, user = body.pop("messages")
    assert system == {"role": "system", "content": asked.prompt.system}
    assert user["role"] == "user"
    shared, picture, question = user["content"]
    assert shared == {"type": "text", "text": asked.prompt.shared}
    assert picture["type"] == "image_url"
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert question == {"type": "text", "text": asked.prompt.question}
    schema = {"name": "answer", "schema": asked.schema, "strict": True}
    assert body == {
        "model": "teacher",
        "seed": 5,
        "temperature": 0.3,
        "top_p": 0.8,
        "max_completion_tokens": 50,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


def test_greedy_and_more_tokens_are_the_requests_own(ask: Ask, engine: Any) -> None:
    asked = [replace(each, greedy=True, token_factor=2) for each in ask(5)]
    with ScriptedServer() as server:
        list(engine(server, temperature=0.3, max_tokens=50).answer(asked))
    assert server.bodies[0]["temperature"] == 0
    assert server.bodies[0]["max_completion_tokens"] == 100


def test_an_answer_cut_or_ended_otherwise_says_so(ask: Ask, engine: Any) -> None:
    ends = {1: "length", 2: "content_filter"}
    with ScriptedServer(lambda call: call.answer("{", ends[call.body["seed"]])) as server:
        found = {answer.key: answer for answer in engine(server).answer(ask(1, 2))}
    assert (found["1"].text, found["1"].finish_reason) == ("{", "length")
    assert (found["2"].text, found["2"].finish_reason) == ("", "error")
    assert found["2"].error == "the answer ended with 'content_filter'"
    assert len(server.bodies) == 2


# --- faults of a request ------------------------------------------------------------------------------


def test_a_refused_request_is_alone_and_not_sent_again(ask: Ask, engine: Any) -> None:
    words = "maximum context length is 16 at 0x7f12345678\nTraceback"
    with ScriptedServer(only(2, lambda call: call.fail(400, words))) as server:
        found = texts(list(engine(server).answer(ask(1, 2, 3))))
        error = f"error: {server.url} answered 400: maximum context length is 16"
    assert found == all_answered(1, 3) | {"2": error}
    assert server.asked == {1: 1, 2: 1, 3: 1}


def test_a_bad_picture_is_alone_and_not_sent(ask: Ask, engine: Any, tmp_path: Path) -> None:
    good, changed, missing, broken = ask(1, 2, 3, 4)
    noise = tmp_path / "noise.jpg"
    noise.write_bytes(b"\xff\xd8\xff\xe0 no picture at all")
    changed = replace(changed, picture_digest="f" * 32)
    missing = replace(missing, picture=tmp_path / "missing.jpg")
    broken = replace(broken, picture=noise, picture_digest=digest_file(noise))
    with ScriptedServer() as server:
        found = texts(list(engine(server).answer([changed, missing, good, broken])))
    assert found["1"] == "answer 1"
    assert found["2"] == "error: the picture file changed since it was checked; run the same command again"
    assert "there is no such file" in found["3"]
    assert "noise.jpg" in found["4"]
    assert len(server.bodies) == 1


def fail_500(call: Call) -> None:
    call.fail(500, "engine stumbled")


def test_a_500_is_sent_again(ask: Ask, engine: Any) -> None:
    clock = PatientClock()
    with ScriptedServer(once(fail_500)) as server:
        assert texts(list(engine(server, clock=clock).answer(ask(1, 2)))) == all_answered(1, 2)
    assert server.asked == {1: 2, 2: 2}
    assert clock.jumps == [1.0]


def test_a_500_for_ever_fails_alone_after_pauses_that_double(ask: Ask, engine: Any) -> None:
    clock = PatientClock()
    with ScriptedServer(only(2, fail_500)) as server:
        found = texts(list(engine(server, clock=clock, retries=8).answer(ask(1, 2, 3))))
        error = f"error: {server.url} answered 500: engine stumbled (sent 9 times)"
    assert found == all_answered(1, 3) | {"2": error}
    assert clock.jumps == [1, 2, 4, 8, 16, 32, 60, 60]


def no_json(call: Call) -> None:
    call.send(200, b"I am a teapot")


def no_choice(call: Call) -> None:
    call.send(200, b'{"choices": []}')


def no_content(call: Call) -> None:
    call.send(200, b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}')


def too_much(call: Call) -> None:
    call.send(200, b" " * (17 << 20))


FAULTS = {
    Call.half_a_body: "is out of reach (RemoteProtocolError: peer closed connection",
    Call.hang_up: "is out of reach (RemoteProtocolError: Server disconnected",
    no_json: "the body is not JSON",
    no_choice: "the body is no chat completion (choices: List should have at least 1 item",
    no_content: "the answer has no content",
    too_much: "answered more than 16777216 bytes",
    lambda call: call.answer("", None): "the answer was broken off (finish_reason None)",
    lambda call: call.fail(429, "slow down"): "answered 429: slow down",
    lambda call: call.send(503, b"<html><body>Bad gateway</body></html>"): "answered 503 (sent",
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.items())
def test_a_fault_in_transport_is_sent_again_and_then_told(
    fault: Script, words: str, ask: Ask, engine: Any
) -> None:
    with ScriptedServer(once(fault)) as server:
        assert texts(list(engine(server).answer(ask(1, 2)))) == all_answered(1, 2)
    assert server.asked == {1: 2, 2: 2}
    with ScriptedServer(only(2, fault)) as server:
        found = texts(list(engine(server).answer(ask(1, 2, 3))))
    assert found.keys() == {"1", "2", "3"}
    assert words in found["2"]
    assert found["2"].startswith("error: http://127.0.0.1:")
    assert found["2"].endswith("(sent 3 times)")
    assert server.asked == {1: 1, 2: 3, 3: 1}


def test_a_request_that_times_out_is_sent_again_and_its_connection_ends(ask: Ask, engine: Any) -> None:
    with ScriptedServer(once(Call.wait_for_hang_up)) as server:
        assert texts(list(engine(server, timeout_seconds=0.2).answer(ask(1)))) == all_answered(1)
        assert server.hung_up.wait(PATIENCE)
    with ScriptedServer(Call.wait_for_hang_up) as server:
        (answer,) = engine(server, timeout_seconds=0.2, retries=1).answer(ask(1))
    assert answer.error == f"{server.url} did not answer within 0.2 seconds (sent 2 times)"


def test_endless_white_space_meets_the_time_out(ask: Ask, engine: Any) -> None:
    def drip(call: Call) -> None:
        call.send_response(200)
        call.send_header("Content-Length", str(1 << 40))
        call.end_headers()
        while True:
            call.wfile.write(b" ")
            if call.scripted.hung_up.wait(0.01):
                return

    with ScriptedServer(drip) as server:
        (answer,) = engine(server, timeout_seconds=0.2, retries=0).answer(ask(1))
        server.hung_up.set()
    assert answer.error == f"{server.url} did not answer within 0.2 seconds (sent 1 times)"


# --- busy endpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("999999999", 3600),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 3600),
        ("Mon, 01 Jan 1990 00:00:00 GMT", 1),
        ("-5", 1),
        ("soon", 1),
    ],
)
def test_a_retry_after_is_waited_for(status: int, value: str, seconds: int, ask: Ask, engine: Any) -> None:
    """Where it says nothing sensible, the pause of one second stays."""
    clock = PatientClock()
    with ScriptedServer(once(lambda call: call.fail(status, "", {"Retry-After": value}))) as server:
        assert texts(list(engine(server, clock=clock).answer(ask(1)))) == all_answered(1)
    assert clock.time == 1000 + seconds


def test_another_endpoint_does_not_wait_for_a_busy_one(ask: Ask, engine: Any) -> None:
    clock = PatientClock()
    seeds = range(8)
    with (
        ScriptedServer(lambda call: call.fail(429, "", {"Retry-After": "900"})) as busy,
        ScriptedServer() as fine,
    ):
        found = texts(list(engine(busy, fine, clock=clock, concurrency=2).answer(ask(*seeds))))
    assert found == all_answered(*seeds)
    assert len(busy.bodies) == 2
    assert clock.time < 1010


def test_a_failed_request_goes_to_the_other_endpoint(ask: Ask, engine: Any) -> None:
    with ScriptedServer(fail_500) as bad, ScriptedServer() as fine:
        assert texts(list(engine(bad, fine, retries=1).answer(ask(1, 2, 3, 4)))) == all_answered(1, 2, 3, 4)
    assert max(bad.asked.values()) == 1


# --- endpoints that die -------------------------------------------------------------------------------


def test_one_of_two_dies_in_the_middle_and_comes_back(ask: Ask, engine: Any) -> None:
    """No request has a retry to lose, so any that the death cost one would end as an error."""
    lines: list[str] = []
    seeds = range(60)
    steady = ScriptedServer().start()
    dying = ScriptedServer().start()
    answers = engine(
        steady, dying, clock=PatientClock(tick=0.5), say=lines.append, retries=0, concurrency=4
    ).answer(ask(*seeds))
    found = [next(answers) for _ in range(10)]
    assert dying.bodies
    dying.stop()
    found += [next(answers) for _ in range(20)]
    before = len(dying.bodies)
    dying.start()
    found += answers
    steady.stop()
    dying.stop()
    assert texts(found) == all_answered(*seeds)
    assert len(dying.bodies) > before
    died, back = lines
    assert died.startswith(f"{dying.url} is out of reach (")
    assert died.endswith("; looked at again every 5 seconds")
    assert back == f"{dying.url} is back"


def test_requests_wait_for_the_only_endpoint_to_come_back(ask: Ask, engine: Any) -> None:
    def die_once(call: Call) -> None:
        if call.body["seed"] == 3 and call.number == 1:
            call.scripted.ill = 20
            call.scripted.break_connections()
        else:
            call.answer()

    clock = PatientClock()
    with ScriptedServer(die_once) as server:
        found = texts(list(engine(server, clock=clock, retries=0, concurrency=2).answer(ask(*range(8)))))
    assert found == all_answered(*range(8))
    assert sum(clock.jumps) == pytest.approx(100)


def test_a_request_that_kills_its_endpoint_again_and_again_fails_alone(ask: Ask, engine: Any) -> None:
    def die(call: Call) -> None:
        if call.body["seed"] == 3:
            call.scripted.ill = 1
            call.scripted.break_connections()
        else:
            call.answer()

    with ScriptedServer(die) as server:
        found = texts(list(engine(server, concurrency=4, retries=0).answer(ask(*range(12)))))
    error = found.pop("3")
    assert found == all_answered(*[seed for seed in range(12) if seed != 3])
    assert error.startswith("error: an endpoint died 5 times under it (http://127.0.0.1:")
    assert server.asked[3] == 5


def test_a_connection_that_was_never_made_did_not_reach_the_endpoint() -> None:
    async def ask(url: str) -> None:
        async with open_client("") as client:
            await Endpoint(url, client, "", ServerSettings()).ask(b'{"seed": 1}')

    with ScriptedServer(Call.hang_up) as server:
        with pytest.raises(FaultyError) as broken:
            asyncio.run(ask(server.url))
        server.stop()
        with pytest.raises(FaultyError) as refused:
            asyncio.run(ask(server.url))
    assert (broken.value.arrived, refused.value.arrived) == (True, False)


def test_all_dead_at_the_start_waits_and_then_names_each(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as gone, ScriptedServer() as ill:
        gone.stop()
        ill.ill = 10_000
        clock = PatientClock()
        with pytest.raises(MachineError) as reason:
            list(engine(gone, ill, clock=clock, dead_after_seconds=100).answer(ask(1)))
    assert 1100 <= clock.time < 1110
    assert "no endpoint of teacher.server.urls has been alive for 100 seconds: " in str(reason.value)
    assert f"{gone.url} is out of reach (ConnectError: " in str(reason.value)
    assert f"{ill.url} answered 503 to the question for its health" in str(reason.value)
    assert "everything finished is kept: run the same command again" in str(reason.value)
    assert not ill.bodies


def test_a_server_that_is_still_loading_is_waited_for(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as server:
        server.ill = 30
        assert texts(list(engine(server).answer(ask(1)))) == all_answered(1)


def test_all_dead_in_the_middle_keeps_what_was_answered(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as server:
        answers = engine(server, concurrency=2).answer(ask(*range(10)))
        found = [next(answers)]
        server.stop()
        with pytest.raises(MachineError, match="has been alive for 300 seconds"):
            found += answers
    assert 1 <= len(found) <= 3


def test_an_endpoint_without_a_health_path_is_asked_for_its_models(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as server:
        server.health = 404
        assert texts(list(engine(server).answer(ask(1)))) == all_answered(1)
    assert server.gets == ["/health", "/v1/models"]


# --- bounds -------------------------------------------------------------------------------------------


def test_as_many_requests_are_open_as_allowed_and_never_more(ask: Ask, engine: Any) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    def meet(call: Call) -> None:
        together.wait()
        call.answer()

    with ScriptedServer(meet) as server:
        assert texts(list(engine(server, concurrency=3).answer(ask(*range(12))))) == all_answered(*range(12))
    assert server.most_open == 3


@pytest.mark.parametrize(("script", "bound"), [(Call.answer, 3), (once(fail_500), 6)])
def test_requests_are_taken_lazily(script: Script, bound: int, ask: Ask, engine: Any) -> None:
    """Those in their pause leave room for others, up to as many again."""
    taken = []

    def source() -> Iterator[Request]:
        for each in ask(*range(100)):
            taken.append(each)
            yield each

    with ScriptedServer(script) as server:
        answers = engine(server, concurrency=3).answer(source())
        assert not taken
        next(answers)
        assert len(taken) == bound
        answers.close()


def test_answers_nobody_waits_for_are_called_off(ask: Ask, engine: Any) -> None:
    arrived = threading.Event()

    def hold_the_second(call: Call) -> None:
        if call.body["seed"] == 2:
            arrived.set()
            call.wait_for_hang_up()
        else:
            assert arrived.wait(PATIENCE)
            call.answer()

    with ScriptedServer(hold_the_second) as server:
        answers = engine(server).answer(ask(1, 2))
        assert next(answers).key == "1"
        answers.close()
        assert server.hung_up.wait(PATIENCE)


def test_ctrl_c_ends_a_wait(ask: Ask) -> None:
    """With the real clock: the signal arrives while an answer is waited for."""
    assert threading.current_thread() is threading.main_thread()

    def interrupt(call: Call) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        call.wait_for_hang_up()

    with ScriptedServer(interrupt) as server:
        engine = ServerEngine(ServerSettings(urls=[server.url], model="teacher"), MAX_PIXELS)
        with pytest.raises(KeyboardInterrupt):
            list(engine.answer(ask(1)))
        assert server.hung_up.wait(PATIENCE)
        engine.close()


def test_calls_that_do_not_end_are_left_behind_and_told(
    ask: Ask, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE)
        await asyncio.to_thread(release.wait)

    monkeypatch.setattr("stages.teacher.engines.call_thread.LAST_BREATH", 0.05)
    release, lines = threading.Event(), list[str]()
    with ScriptedServer() as server:
        subject = engine(server, say=lines.append)
        list(subject.answer(ask(1)))
        subject._line.thread.submit(stubborn())
        subject.close()
    release.set()
    (line,) = lines
    assert line.startswith(f"calls to {server.url} did not end within 10 seconds after they were called off")


def test_real_pauses_are_kept_to(ask: Ask) -> None:
    with ScriptedServer(once(fail_500)) as server:
        settings = ServerSettings(urls=[server.url], model="teacher", backoff_seconds=0.05)
        engine = ServerEngine(settings, MAX_PIXELS)
        assert texts(list(engine.answer(ask(1)))) == all_answered(1)
        engine.close()


def test_no_request_needs_no_endpoint(engine: Any) -> None:
    with ScriptedServer() as server:
        server.stop()
        assert list(engine(server).answer([])) == []


def test_a_closed_engine_can_be_closed_again_and_answers_again(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as server:
        subject = engine(server)
        list(subject.answer(ask(1)))
        subject.close()
        subject.close()
        assert texts(list(subject.answer(ask(2)))) == all_answered(2)


KINDS_OF_TRY: list[Script] = [
    Call.answer,
    Call.half_a_body,
    Call.hang_up,
    fail_500,
    no_json,
    lambda call: call.fail(429, "", {"Retry-After": "3"}),
    lambda call: call.fail(400, "bad"),
]


@given(st.lists(st.lists(st.integers(0, len(KINDS_OF_TRY) - 1), max_size=4), max_size=8))
@hypothesis_settings(max_examples=25)
def test_every_request_has_exactly_one_answer_whatever_happens_to_it(
    picture: Path, tries: list[list[int]]
) -> None:
    def play(call: Call) -> None:
        plan = tries[call.body["seed"]]
        KINDS_OF_TRY[plan[call.number - 1] if call.number <= len(plan) else 0](call)

    plain = request(jumping(), Contrast("diving", {}))
    plain = replace(plain, picture=picture, picture_digest=digest_file(picture))
    with ScriptedServer(play) as one, ScriptedServer(play) as two:
        settings = ServerSettings(urls=[one.url, two.url], model="teacher", retries=9, concurrency=2)
        engine = ServerEngine(settings, MAX_PIXELS, clock=PatientClock(tick=0.1))
        found = texts(list(engine.answer(replace(plain, key=str(i), seed=i) for i in range(len(tries)))))
        engine.close()
    assert found.keys() == {str(seed) for seed in range(len(tries))}
    for seed, plan in enumerate(tries):
        assert found[str(seed)] == f"answer {seed}" or 6 in plan


# --- models and identity ------------------------------------------------------------------------------


def test_the_identity_needs_no_endpoint_where_the_model_is_named(engine: Any) -> None:
    with ScriptedServer() as server:
        identity = engine(server, revision="v2", temperature=0.5, concurrency=3, picture="file").identity()
    assert identity == {
        "engine": "server",
        "teacher": "teacher",
        "revision": "v2",
        "sampling": {"temperature": 0.5, "top_p": 0.9, "max_tokens": 1024},
    }
    assert not server.gets


def test_the_only_model_served_is_taken(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as gone, ScriptedServer(models=["qwen"]) as server:
        gone.stop()
        subject = engine(gone, server, model="")
        assert subject.identity()["teacher"] == "qwen"
        list(subject.answer(ask(1)))
    assert server.bodies[0]["model"] == "qwen"


def test_several_models_have_to_be_chosen_from(engine: Any) -> None:
    with ScriptedServer(models=["base", "adapter\x1b[2J"]) as server, pytest.raises(UserError) as reason:
        engine(server, model="").identity()
    assert f"{server.url} serves 2 models ('base', 'adapter\\x1b[2J')" in str(reason.value)
    assert "set teacher.server.model" in str(reason.value)


def test_an_endpoint_that_is_still_loading_is_waited_for_to_tell_its_model(ask: Ask, engine: Any) -> None:
    lines: list[str] = []
    clock = PatientClock()
    with ScriptedServer(models=["qwen"]) as server:
        server.sick = 10
        subject = engine(server, model="", clock=clock, say=lines.append)
        assert subject.identity()["teacher"] == "qwen"
        assert sum(clock.jumps) == 50
        assert texts(list(subject.answer(ask(1)))) == all_answered(1)
    (line,) = lines
    assert line.startswith("no endpoint tells which model it serves (http://127.0.0.1:")
    assert line.endswith("answered 503); asked again every 5 seconds, for 300 seconds at most")


def test_no_endpoint_to_ask_for_the_model(engine: Any) -> None:
    clock = PatientClock()
    with ScriptedServer() as server:
        server.stop()
        words = "no endpoint could be asked for 300 seconds which model it serves: http"
        with pytest.raises(MachineError, match=words):
            engine(server, model="", clock=clock).identity()
    assert sum(clock.jumps) == 300


def test_endpoints_that_all_refuse_to_tell_their_model_are_not_waited_for(engine: Any) -> None:
    clock = PatientClock()
    with ScriptedServer() as one, ScriptedServer() as two:
        one.models_status = two.models_status = 401
        with pytest.raises(UserError) as reason:
            engine(one, two, model="", clock=clock).identity()
    assert f"{one.url}/models" not in str(reason.value)
    assert str(reason.value).count("answered 401: it does not accept the key") == 2
    assert not clock.jumps


def test_an_endpoint_that_serves_something_else_is_told_and_the_others_go_on(ask: Ask, engine: Any) -> None:
    lines: list[str] = []
    with ScriptedServer() as right, ScriptedServer(models=["student"]) as wrong:
        subject = engine(right, wrong, say=lines.append)
        assert texts(list(subject.answer(ask(*range(8))))) == all_answered(*range(8))
        (line,) = lines
        assert line.startswith(f"{wrong.url} does not serve the model 'teacher'; it serves 'student'.")
    assert not wrong.bodies


def test_endpoints_that_all_serve_something_else_end_the_run_before_anything_is_asked(
    ask: Ask, engine: Any
) -> None:
    clock = PatientClock()
    with ScriptedServer(models=["a"]) as one, ScriptedServer(models=["b"]) as two:
        with pytest.raises(UserError) as reason:
            list(engine(one, two, clock=clock).answer(ask(1)))
        for server, name in ((one, "a"), (two, "b")):
            assert f"{server.url} does not serve the model 'teacher'; it serves '{name}'." in str(
                reason.value
            )
    assert not clock.jumps
    assert not one.bodies + two.bodies


@pytest.mark.parametrize("status", [403, 404])
def test_a_proxy_that_is_started_again_costs_no_row(status: int, ask: Ask, engine: Any) -> None:
    """It answers for the endpoint behind it, both when asked a question and when looked at."""

    def behind_a_proxy(call: Call) -> None:
        if len(call.scripted.bodies) > 4:
            call.scripted.sick, call.scripted.sick_with = 3, status
            call.scripted.script = Call.answer
            call.fail(status, "no such backend")
        else:
            call.answer()

    lines: list[str] = []
    seeds = range(80)
    with ScriptedServer() as steady, ScriptedServer(behind_a_proxy) as restarted:
        subject = engine(
            steady, restarted, clock=PatientClock(tick=0.5), say=lines.append, concurrency=2, retries=1
        )
        assert texts(list(subject.answer(ask(*seeds)))) == all_answered(*seeds)
        assert len(restarted.bodies) > 8
        assert lines[0].startswith(f"{restarted.url} answered {status}")
        assert lines[-1] == f"{restarted.url} is back"


def test_an_unfit_endpoint_beside_a_dead_one_is_waited_with(ask: Ask, engine: Any) -> None:
    clock = PatientClock()
    with ScriptedServer() as gone, ScriptedServer(models=["student"]) as wrong:
        gone.stop()
        with pytest.raises(MachineError) as reason:
            list(engine(gone, wrong, clock=clock, dead_after_seconds=100).answer(ask(1)))
    assert 1100 <= clock.time < 1110
    assert f"{wrong.url} does not serve the model 'teacher'" in str(reason.value)


def test_a_request_that_an_endpoint_alone_does_not_know_is_not_asked_for_ever(ask: Ask, engine: Any) -> None:
    """Its models are there, and every question is answered with 404; the other one never comes up."""
    odd = ScriptedServer(lambda call: call.fail(404, "no such route"))
    with ScriptedServer() as gone, odd:
        gone.stop()
        found = texts(list(engine(gone, odd, retries=2).answer(ask(1, 2))))
    assert set(found.values()) == {
        f"error: {odd.url} answered 404: no such route. Mend teacher.server.urls or model (sent 3 times)"
    }


def test_an_address_without_v1_is_hinted_at(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as server:
        base = server.url.removesuffix("/v1")
        with pytest.raises(UserError) as reason:
            list(engine(urls=[base]).answer(ask(1)))
    assert str(reason.value).startswith(f"{base} answered 404: Not Found.")
    assert f"addresses usually end in /v1: try {base}/v1" in str(reason.value)


def test_a_model_that_is_gone_ends_the_run(ask: Ask, engine: Any) -> None:
    gone = ScriptedServer(lambda call: call.fail(404, "The model `teacher` does not exist."))
    words = r"answered 404: The model `teacher` does not exist\."
    with gone as server, pytest.raises(UserError, match=words):
        list(engine(server, concurrency=2).answer(ask(*range(50))))
    assert len(server.bodies) <= 2


# --- the key ------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_found_nowhere_else(
    ask: Ask, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def repeat(call: Call) -> None:
        said = {1: 400, 2: 500}.get(call.body["seed"])
        if said:
            call.fail(said, f"you sent {call.headers['Authorization']}")
        else:
            call.answer()

    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    lines: list[str] = []
    with ScriptedServer(repeat) as server:
        subject = engine(server, key_variable="MY_KEY", say=lines.append)
        found = list(subject.answer(ask(1, 2, 3)))
        server.stop()
        with pytest.raises(MachineError) as reason:
            list(subject.answer(ask(4)))
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert "answered 400: you sent Bearer ***" in texts(found)["1"]
    assert "answered 500: you sent Bearer ***" in texts(found)["2"]
    seen = [found, subject.identity(), vars(subject), subject.settings, lines, reason.value, server.bodies]
    assert KEY not in repr(seen)
    assert KEY not in repr(vars(subject._line)) + repr([str(each) for each in subject._line.endpoints])


def test_without_a_key_none_is_sent(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as server:
        list(engine(server).answer(ask(1)))
    assert server.keys == [None]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_run_at_once(
    status: int, ask: Ask, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    strict = ScriptedServer(lambda call: call.fail(status, f"bad key {KEY}"))
    with strict as server, pytest.raises(UserError) as reason:
        list(engine(server, key_variable="MY_KEY", concurrency=2).answer(ask(*range(50))))
    assert f"answered {status}: it does not accept the key; the environment variable MY_KEY" in str(
        reason.value
    )
    assert KEY not in str(reason.value)
    assert len(server.bodies) <= 2


def test_a_missing_key_is_named_before_anything_is_asked(ask: Ask, engine: Any) -> None:
    with ScriptedServer() as server:
        server.models_status = 401
        with pytest.raises(UserError, match="environment variable OPENAI_API_KEY is not set"):
            list(engine(server).answer(ask(1)))
    assert not server.bodies


def test_a_key_that_cannot_be_sent_is_refused_without_quoting_it(
    ask: Ask, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nX-Other: 1")
    with ScriptedServer() as server, pytest.raises(UserError) as reason:
        list(engine(server).answer(ask(1)))
    assert "the environment variable OPENAI_API_KEY holds characters that no key has" in str(reason.value)
    assert KEY not in str(reason.value)
