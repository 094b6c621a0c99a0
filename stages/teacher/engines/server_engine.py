"""The language model behind stage one: one or many OpenAI-compatible endpoints, such as `vllm serve`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from queue import SimpleQueue
from typing import Any

from cache.errors import MachineError, UserError
from stages.printable import printable
from stages.teacher.engines.call_thread import LAST_BREATH, CallThread
from stages.teacher.engines.chat import Reply, chat_body
from stages.teacher.engines.clock import Clock, WallClock
from stages.teacher.engines.dispatch import CHECK_SECONDS, Dispatch
from stages.teacher.engines.endpoint import (
    Endpoint,
    FaultyError,
    RefusedError,
    UnfitError,
    open_client,
    read_key,
)
from stages.teacher.engines.engine import Answer, Request
from stages.teacher.engines.fault_text import plain
from stages.teacher.engines.picture_url import picture_url
from stages.teacher.engines.server_settings import ServerSettings


class ServerEngine:
    """Answers requests through endpoints that serve the same model, as long as one of them is alive.

    max_pixels  a larger picture is an error of its request, before its pixels are unpacked
    say         told in one line when an endpoint dies and when it is back
    clock       what pauses are measured by
    """

    def __init__(
        self,
        settings: ServerSettings,
        max_pixels: int,
        say: Callable[[str], None] = lambda line: None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self._max_pixels = max_pixels
        self._say = say
        self._clock = clock or WallClock()
        self._line: _Line | None = None

    def identity(self) -> Mapping[str, Any]:
        """Names the model, as far as the endpoints can be known, and the sampling.

        Asks an endpoint only where `model` is empty, and then waits for one to answer as `answer` does. Left
        out: addresses, key, concurrency, time-outs, retries, and how a picture travels, none of which changes
        an answer.

        Raises UserError where `model` is empty and several are served, MachineError where none can be asked
        for `dead_after_seconds`.
        """
        settings = self.settings
        return {
            "engine": "server",
            "teacher": self._model,
            "revision": settings.revision,
            "sampling": {
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "max_tokens": settings.max_tokens,
            },
        }

    @cached_property
    def _model(self) -> str:
        return self.settings.model or self._only_model()

    def _only_model(self) -> str:
        since, patience, told = self._clock.now(), self.settings.dead_after_seconds, False
        while isinstance(found := self._ask_for_model(), list):
            faults = "; ".join(found)
            if self._clock.now() - since >= patience:
                raise MachineError(
                    f"no endpoint could be asked for {patience:g} seconds which model it serves: {faults}. "
                    "Start one of them, or set teacher.server.model"
                )
            if not told:
                self._say(
                    f"no endpoint tells which model it serves ({faults}); asked again every "
                    f"{CHECK_SECONDS:g} seconds, for {patience:g} seconds at most"
                )
            told = True
            self._clock.wait(SimpleQueue(), CHECK_SECONDS, calls=0)
        return found

    def _ask_for_model(self) -> str | list[str]:
        """The only model of the first endpoint that tells, or why none does.

        Raises UserError where several are served, or every endpoint is there and none will tell.
        """
        faults, line = [], self._open()
        unfit = 0
        for endpoint in line.endpoints:
            try:
                names = line.thread.submit(endpoint.models()).result()
            except (FaultyError, UnfitError) as reason:
                faults.append(str(reason))
                unfit += isinstance(reason, UnfitError)
                continue
            if len(names) == 1:
                return names[0]
            shown = printable(", ".join(map(repr, names[:10]))) or "none"
            raise UserError(
                f"{endpoint.url} serves {len(names)} models ({shown}); set teacher.server.model to the one "
                "that is the teacher"
            )
        if unfit == len(line.endpoints):
            raise UserError("; ".join(faults))
        return faults

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.answer`. Holds at most twice `concurrency` requests for each endpoint.

        Raises UserError where every endpoint serves other models or refuses the key, MachineError when none
        has been of use for `dead_after_seconds`. One that is of no use is told, and the others go on.
        """
        line = self._open()
        dispatch = Dispatch(
            line.endpoints, self._model, self._ask, self.settings, line.thread, self._clock, self._say
        )
        return dispatch.answers(iter(requests))

    async def _ask(self, endpoint: Endpoint, request: Request) -> tuple[Reply, float]:
        """The reply and its seconds. Raises RefusedError for a bad picture too, else as `Endpoint.ask`."""
        since = time.monotonic()
        try:
            body = await asyncio.to_thread(self._write, request)
        except (ValueError, OSError) as reason:  # UserErrors are of the first kind
            raise RefusedError(plain(reason)) from None
        reply = await endpoint.ask(body)
        return reply, time.monotonic() - since

    def _write(self, request: Request) -> bytes:
        picture = picture_url(request, self.settings.picture, self._max_pixels)
        return chat_body(request, picture, self._model, self.settings)

    def _open(self) -> _Line:
        if self._line is None:
            self._line = _Line(self.settings)
        return self._line

    def close(self) -> None:
        """Calls off what is open; may be called twice."""
        line, self._line = self._line, None
        if line is not None and not line.close():
            self._say(
                f"calls to {', '.join(self.settings.urls)} did not end within {LAST_BREATH:g} seconds after "
                "they were called off, and are left behind; everything finished is kept"
            )


class _Line:
    """The open connections to all endpoints, and the thread they live in."""

    def __init__(self, settings: ServerSettings) -> None:
        key = read_key(settings.key_variable)
        self._client = open_client(key)
        self.endpoints = [Endpoint(url, self._client, key, settings) for url in settings.urls]
        self.thread = CallThread()

    def close(self) -> bool:
        return self.thread.close(last=self._client.aclose())
