"""One process of an engine pool: answers what comes through a connection with an engine of its own.

    pool   -> worker   how to make the engine, then requests, DRAIN, STOP
    worker -> pool     TOOK, answers, `Said`, `Failure`

An engine asks for the next request while it works on others, and waits until it gets one. So a worker reports
each request its engine takes, the pool keeps a few waiting here, and sends DRAIN as soon as it has no more:
that ends the engine's source, which makes it finish what it holds.
"""

from __future__ import annotations

import enum
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from cache.errors import MachineError, UserError
from stages.teacher.engines.engine import Engine, Request
from stages.teacher.engines.orphans import die_with_parent

Say = Callable[[str], None]
Maker = Callable[[Say], Engine]
TERMINATED = 143  # exit code of a process that ended on SIGTERM


class Word(enum.Enum):
    """What is said beside requests and answers."""

    TOOK = enum.auto()  # the engine took a request
    DRAIN = enum.auto()  # no request for now: finish what was taken
    STOP = enum.auto()  # no request any more


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the person at the terminal."""

    line: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the engine ended; `by_user` tells the user's mistake from the machine's fault."""

    text: str
    by_user: bool


def work(connection: Connection[Any, Any], devices: str | None) -> None:
    """Serves one pool until it says STOP or is gone. `devices` becomes CUDA_VISIBLE_DEVICES."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the pool decides for all
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    # Not an argument of this function: what is unpickled with it may look for GPUs.
    make: Maker = connection.recv()
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    try:
        with closing(make(lambda line: connection.send(Said(line)))) as engine:
            _serve(engine, connection, inbox)
    except (UserError, MachineError) as reason:
        connection.send(Failure(str(reason), isinstance(reason, UserError)))


def _receive(connection: Connection[Any, Any], inbox: SimpleQueue[Any]) -> None:
    """Empties the connection at any time, so that the pool never waits to get rid of a request."""
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        inbox.put(Word.STOP)


def _serve(engine: Engine, connection: Connection[Any, Any], inbox: SimpleQueue[Any]) -> None:
    while (message := inbox.get()) is not Word.STOP:
        if isinstance(message, Request):
            for answer in engine.answer(_requests(message, connection, inbox)):
                connection.send(answer)


def _requests(first: Request, connection: Connection[Any, Any], inbox: SimpleQueue[Any]) -> Iterator[Request]:
    """Requests up to the next DRAIN or STOP."""
    message: Any = first
    while isinstance(message, Request):
        connection.send(Word.TOOK)
        yield message
        message = inbox.get()
    if message is Word.STOP:
        inbox.put(message)
