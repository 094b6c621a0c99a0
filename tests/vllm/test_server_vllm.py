"""The `server` engine against a real vLLM server on loopback, killed and started again in the middle."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cache.errors import UserError
from cache.keys import digest_file
from cache.kinds import KINDS
from stages.teacher.asking.parse import parse_answer
from stages.teacher.asking.prompt import answer_schema
from stages.teacher.engines.engine import Answer, Contrast, Prompt, Request
from stages.teacher.engines.server_engine import ServerEngine
from stages.teacher.engines.server_settings import ServerSettings
from tests.teacher.examples import jumping, request
from tests.vllm.conftest import ENVIRONMENT, ROOT

pytestmark = pytest.mark.vllm

MAX_PIXELS = 1_000_000
PATIENCE = 240.0  # seconds for a server that loads beside other work
MAX_CHARS = 24


class Server:
    """`vllm serve` on a port of its own, in a process group of its own."""

    def __init__(self, model: Path, media: Path, folder: Path) -> None:
        self.model, self.media, self.folder = model, media, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # What `vllm serve` runs; the command itself is missing from the CPU build.
        command = [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry"]
        options = {
            "--model": self.model,
            "--served-model-name": "teacher",
            "--host": "127.0.0.1",
            "--port": self.port,
            "--dtype": "float32",
            "--max-model-len": 2048,
            "--max-num-seqs": 8,
            "--gpu-memory-utilization": 0.05,
            "--limit-mm-per-prompt": '{"image": 1}',
            "--structured-outputs-config": '{"backend": "guidance", "disable_any_whitespace": true}',
            "--allowed-local-media-path": self.media,
        }
        words = [str(word) for option in options.items() for word in option]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *words, "--enforce-eager"],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT, "VLLM_CACHE_ROOT": str(self.folder / "cache")},
            )

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def server(model: Path, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(model, pictures[0].parent, tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


def engine(server: Server, say: Callable[[str], None] = lambda line: None, **fields: object) -> ServerEngine:
    settings = {"urls": [server.url], "model": "teacher", "concurrency": 8, "max_tokens": 600, **fields}
    return ServerEngine(
        ServerSettings.model_validate({"dead_after_seconds": PATIENCE, **settings}), MAX_PIXELS, say
    )


def requests(pictures: list[Path], count: int) -> list[Request]:
    plain = request(jumping(), Contrast("diving", {"agent": "n00000003"}))
    plain = replace(plain, schema=answer_schema(KINDS, MAX_CHARS))
    return [
        replace(
            plain,
            key=str(number),
            seed=number,
            picture=pictures[number % len(pictures)],
            picture_digest=digest_file(pictures[number % len(pictures)]),
        )
        for number in range(count)
    ]


def by_key(answers: list[Answer]) -> dict[str, Answer]:
    assert len({answer.key for answer in answers}) == len(answers)
    return {answer.key: answer for answer in answers}


def answer_all(subject: ServerEngine, asked: list[Request]) -> dict[str, Answer]:
    try:
        return by_key(list(subject.answer(asked)))
    finally:
        subject.close()


def test_a_server_killed_and_started_again_costs_no_answer(server: Server, pictures: list[Path]) -> None:
    """Also with no retry to lose; in float32 the seeds alone decide the texts."""
    asked = requests(pictures, 60)
    undisturbed = answer_all(engine(server), asked)
    assert undisturbed.keys() == {each.key for each in asked}
    for answer in undisturbed.values():
        assert answer.finish_reason == "stop", answer.error
        assert list(parse_answer(answer.text)) == list(KINDS)
        assert answer.tokens_in > 300
        assert answer.tokens_out > 10
    assert len({answer.text for answer in undisturbed.values()}) > 50

    lines: list[str] = []
    subject = engine(server, lines.append, retries=0)
    answers = subject.answer(asked)
    found = [next(answers) for _ in range(10)]
    server.kill()
    server.start()
    found += answers
    subject.close()
    disturbed = by_key(found)
    assert {key: answer.text for key, answer in disturbed.items()} == {
        key: answer.text for key, answer in undisturbed.items()
    }
    assert not any(answer.error for answer in found)
    died, back = lines
    assert died.startswith(f"{server.url} is out of reach")
    assert back == f"{server.url} is back"


def test_bad_requests_fail_alone_and_say_why(server: Server, pictures: list[Path]) -> None:
    too_long, good, no_schema, missing = requests(pictures, 4)
    prompt = too_long.prompt
    too_long = replace(too_long, prompt=Prompt(prompt.system, prompt.shared, "why " * 5000))
    no_schema = replace(no_schema, schema={"type": "no-such-type"})
    missing = replace(missing, picture=pictures[0].with_name("missing.png"))
    found = answer_all(engine(server, retries=1), [too_long, good, no_schema, missing])
    assert found["1"].finish_reason == "stop"
    assert {key for key, answer in found.items() if answer.finish_reason == "error"} == {"0", "2", "3"}
    assert "answered 400: " in found["0"].error
    assert "maximum context length is 2048" in found["0"].error
    assert "answered 400: " in found["2"].error
    assert "there is no such file" in found["3"].error


def test_a_picture_travels_as_a_file_as_well(server: Server, pictures: list[Path], tmp_path: Path) -> None:
    asked = requests(pictures, 3)
    as_data, as_file = (answer_all(engine(server, picture=how), asked) for how in ("data", "file"))
    assert {key: answer.text for key, answer in as_file.items()} == {
        key: answer.text for key, answer in as_data.items()
    }
    outside = tmp_path / "outside.png"
    outside.write_bytes(pictures[0].read_bytes())
    (refused,) = answer_all(engine(server, picture="file"), [replace(asked[0], picture=outside)]).values()
    assert "answered 400: " in refused.error
    assert "allowed-local-media-path" in refused.error


def test_the_model_is_found_by_itself_or_refused_by_name(server: Server, pictures: list[Path]) -> None:
    subject = engine(server, model="")
    assert subject.identity()["teacher"] == "teacher"
    subject.close()
    other = engine(server, model="student")
    with pytest.raises(UserError, match="does not serve the model 'student'; it serves 'teacher'"):
        list(other.answer(requests(pictures, 1)))
    other.close()
