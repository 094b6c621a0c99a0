"""An OpenAI-compatible server on loopback that answers by a script, and a clock that never sleeps."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any, Self, TypeVar

T = TypeVar("T")

PATIENCE = 30.0  # seconds until a test that waits for nothing fails


class Call(BaseHTTPRequestHandler):
    """One connection; `body` is the chat request that a script answers, the `number`th with its seed."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the body waits 40 ms for the headers to be acknowledged
    scripted: ScriptedServer
    body: dict[str, Any]
    number: int

    def log_message(self, *parts: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.scripted
        with server.lock:
            server.gets.append(self.path)
            ill, server.ill = server.ill > 0, max(server.ill - 1, 0)
            status = server.models_status
            if self.path == "/v1/models" and server.sick:
                status, server.sick = server.sick_with, server.sick - 1
        if self.path == "/health":
            self.send(503 if ill else server.health, b"")
        elif self.path == "/v1/models":
            names = {"object": "list", "data": [{"id": name} for name in server.models]}
            self.send(status, json.dumps(names).encode())
        else:
            self.send(404, b'{"detail":"Not Found"}')

    def do_POST(self) -> None:
        server = self.scripted
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(self.body)
            server.keys.append(self.headers.get("Authorization"))
            server.asked[self.body["seed"]] += 1
            self.number = server.asked[self.body["seed"]]
            server.open += 1
            server.most_open = max(server.most_open, server.open)
        self.counted = True
        with suppress(ConnectionError):
            server.script(self)
        self.leave()

    def leave(self) -> None:
        """No longer counts as open; before the last byte goes out, after which the next request may come."""
        with self.scripted.lock:
            self.scripted.open -= self.counted
        self.counted = False

    def send(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        if hasattr(self, "counted"):
            self.leave()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.send(status, json.dumps({"error": {"message": message, "code": status}}).encode(), headers)

    def answer(self, text: str | None = None, finish_reason: str | None = "stop") -> None:
        """A chat completion; its text names the seed unless another is given."""
        message = {"role": "assistant", "content": text or f"answer {self.body['seed']}"}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        usage = {"prompt_tokens": 300, "completion_tokens": 7, "total_tokens": 307}
        self.send(200, json.dumps({"choices": [choice], "usage": usage}).encode())

    def half_a_body(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"mess')
        self.close_connection = True

    def hang_up(self) -> None:
        """Ends the connection without a byte."""
        self.close_connection = True

    def wait_for_hang_up(self) -> None:
        """Answers nothing until the other side goes."""
        with suppress(ConnectionError):
            self.rfile.read(1)
        self.scripted.hung_up.set()


Script = Callable[[Call], None]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, handler: type[Call]) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a connection broken by the other side

    def break_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class ScriptedServer:
    """`with ScriptedServer(script) as server:` listens at `server.url`; `stop` and `start` keep the port.

    ill   that many next questions for its health are answered 503
    sick  that many next questions for its models are answered with `sick_with`
    """

    def __init__(self, script: Script = Call.answer, models: Sequence[str] = ("teacher",)) -> None:
        self.script, self.models = script, models
        self.health = self.models_status = 200
        self.lock = threading.Lock()
        self.gets: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.asked: Counter[int] = Counter()
        self.open = self.most_open = self.ill = self.sick = 0
        self.sick_with = 503
        self.hung_up = threading.Event()
        self.port = 0
        self._listener: _Listener | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> Self:
        self._listener = _Listener(self.port, type("BoundCall", (Call,), {"scripted": self}))
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """As if killed: refuses connections and breaks the open ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown()
            listener.server_close()
            listener.break_connections()

    def break_connections(self) -> None:
        assert self._listener is not None
        self._listener.break_connections()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *reason: object) -> None:
        self.stop()


class PatientClock:
    """Waits for real as long as a call is open, and lets time jump where only time can help.

    tick  seconds that pass at every wait besides, so that what is due comes up while calls are open
    """

    def __init__(self, tick: float = 0.0) -> None:
        self.time, self.tick = 1000.0, tick
        self.jumps: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, inbox: SimpleQueue[T], seconds: float | None, calls: int) -> T | None:
        self.time += self.tick
        if calls:
            return inbox.get(timeout=PATIENCE)
        assert seconds is not None, "waits for ever"
        self.jumps.append(seconds)
        self.time += seconds
        return None
