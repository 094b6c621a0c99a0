"""Several copies of an engine on one machine, each in a process of its own.

vLLM's own data parallelism does not work in process: `LLM(data_parallel_size=2)` raises (0.32).
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from cache.errors import MachineError, UserError
from stages.reporter import SilentReporter
from stages.teacher.engines.engine import Answer, Request
from stages.teacher.engines.engine_worker import Failure, Maker, Said, Say, Word, work
from stages.teacher.engines.gpu_slices import gpu_slices, visible_gpus

AHEAD = 32  # requests that wait in each process beside those its engine took: seconds of work
_LAST_BREATH = 30.0  # seconds given to a process to free what its engine holds


class EnginePool:
    """Spreads requests over `size` processes with an engine each; starts them at the first request.

    A request goes to the process with the fewest waiting, and which one it is changes no answer. A script
    that uses it needs ``if __name__ == "__main__":``, as with every spawned process.

    make       makes an engine that says its lines through its argument; is pickled
    gpus_each  GPUs that each process sees, no two the same; 0 leaves them alone
    """

    def __init__(self, make: Maker, size: int, gpus_each: int = 0, say: Say | None = None) -> None:
        self._make, self._size, self._gpus_each = make, size, gpus_each
        self._say = say or SilentReporter().say
        self._reference = make(self._say)  # never loaded: it tells its identity
        self._members: list[_Member] = []

    def identity(self) -> Mapping[str, Any]:
        """That of the engine: how many there are decides no answer."""
        return self._reference.identity()

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.answer`. Raises MachineError also when a process dies, naming it."""
        source = iter(requests)
        members = self._start()
        try:
            while True:
                self._feed(source)
                if not any(member.open for member in members):
                    return
                yield from self._receive()
        finally:
            if any(member.open for member in members):  # no later call may meet answers to this one
                self.close()

    def close(self) -> None:
        """Ends the processes; those with open requests do not finish them. May be called twice."""
        members, self._members = self._members, []
        for member in members:
            member.ask_to_end()
        for member in members:
            for line in member.last_lines():
                self._say(f"{member.name}: {line}")
            member.end()
        self._reference.close()

    def _start(self) -> list[_Member]:
        if not self._members:
            gpus = visible_gpus() if self._gpus_each else []
            slices = gpu_slices(gpus, self._size, self._gpus_each)
            for number, devices in enumerate(slices, start=1):
                self._members.append(_Member(f"engine {number} of {self._size}", self._make, devices))
        return self._members

    def _feed(self, source: Iterator[Request]) -> None:
        """Hands requests out while any process has room for one waiting; tells all when none is left."""
        while (member := max(self._members, key=lambda member: member.room)).room > 0:
            request = next(source, None)
            if request is None:
                for drained in self._members:
                    drained.drain()
                return
            member.give(request)

    def _receive(self) -> Iterator[Answer]:
        """Waits for messages, takes one from each process that has any, and yields the answers."""
        ready = wait([member.connection for member in self._members])
        for member in [member for member in self._members if member.connection in ready]:
            message = member.take()
            if isinstance(message, Answer):
                yield message
            elif isinstance(message, Said):
                self._say(f"{member.name}: {message.line}")


class _Member:
    """The pool's side of one process.

    room  how many more requests may wait there
    open  requests without an answer
    """

    def __init__(self, name: str, make: Maker, devices: str | None) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of a loaded torch
        self.name, self.room, self.open = name, AHEAD, 0
        self._undrained = False
        ours, theirs = spawn.Pipe()
        self.connection: Connection[Any, Any] = ours
        self._process: SpawnProcess = spawn.Process(target=work, args=(theirs, devices), name=name)
        self._process.start()
        theirs.close()  # else the end of the process would not end the connection
        self._send(make)

    def give(self, request: Request) -> None:
        self._send(request)
        self.room -= 1
        self.open += 1
        self._undrained = True

    def drain(self) -> None:
        if self._undrained:
            self._send(Word.DRAIN)
            self._undrained = False

    def take(self) -> object:
        """The next message. Raises what the engine failed with, and MachineError for a dead process."""
        try:
            message: object = self.connection.recv()
        except (EOFError, OSError) as reason:
            raise self._death() from reason
        if isinstance(message, Failure):
            raise (UserError if message.by_user else MachineError)(f"{self.name}: {message.text}")
        if message is Word.TOOK:
            self.room += 1
        elif isinstance(message, Answer):
            self.open -= 1
        return message

    def ask_to_end(self) -> None:
        if self.open:
            self._process.terminate()
        else:
            self._send(Word.STOP)

    def last_lines(self) -> Iterator[str]:
        """What the engine says while it closes; answers that nobody waits for are dropped."""
        end = time.monotonic() + _LAST_BREATH
        with suppress(EOFError, OSError):
            while self.connection.poll(max(0.0, end - time.monotonic())):
                message = self.connection.recv()
                if isinstance(message, Said):
                    yield message.line

    def end(self) -> None:
        """Kills the process if it has not ended by itself."""
        self._process.join(_LAST_BREATH)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()

    def _send(self, message: object) -> None:
        with suppress(OSError):  # a dead process; what it finished is still to be read, and then its end
            self.connection.send(message)

    def _death(self) -> MachineError:
        self._process.join(_LAST_BREATH)
        return MachineError(
            f"{self.name} (process {self._process.pid}) {_ending(self._process.exitcode)}; its messages "
            "above may say why. Everything finished is kept: run the same command again"
        )


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    reason = ", as the kernel does when memory runs out" if -code == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{reason}"
