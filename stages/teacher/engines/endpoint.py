"""One OpenAI-compatible server: is it alive, what does it serve, and one question to it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from stages.printable import printable
from stages.teacher.engines.chat import Reply, ReplyError, read_reply
from stages.teacher.engines.fault_text import plain
from stages.teacher.engines.server_settings import ServerSettings

if TYPE_CHECKING:
    from httpx2 import AsyncClient

CONNECT_SECONDS = 10.0
HEALTH_SECONDS = 10.0
BODY_BYTES = 1 << 24  # an answer of 16 MiB is no answer
_LONGEST_PAUSE = 3600.0  # seconds; a Retry-After beyond is cut
_NAMES_SHOWN = 10


class RefusedError(Exception):
    """The request itself is at fault: asked again, it would be refused again."""


class FaultyError(Exception):
    """No answer, but another try may bring one; the endpoint itself may be out of reach.

    pause    seconds the endpoint asks to be left alone for
    arrived  whether the endpoint may have seen the request
    """

    def __init__(self, message: str, pause: float = 0.0, arrived: bool = True) -> None:
        super().__init__(message)
        self.pause, self.arrived = pause, arrived


class BusyError(FaultyError):
    """The endpoint is alive and has too much to do."""


class UnfitError(UserError):
    """The endpoint is alive and does not serve this teacher: another model, a key it does not accept, a wrong
    address; or what stands in front of it says so while it is started again.

    The user's mistake where no other endpoint serves the teacher.
    """

    pause = 0.0


def read_key(variable: str) -> str:
    """The key in an environment variable, or nothing. Raises UserError where it cannot be sent."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"the environment variable {variable} holds characters that no key has, such as a line break "
            "or an accent; set it again"
        )
    return key


def open_client(key: str) -> AsyncClient:
    """A client for any number of connections; how many are open is decided where requests are sent."""
    import httpx2

    return httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),  # whole answers have a time-out of their own
        # vLLM closes a connection after 5 idle seconds; a request sent at that very moment would be lost.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0),
    )


class Endpoint:
    """One server. `key` is only held to blot it out where the server repeats it.

    url  base address up to and with ``/v1``
    """

    def __init__(self, url: str, client: AsyncClient, key: str, settings: ServerSettings) -> None:
        self.url = url
        self._client, self._key = client, key
        self._variable, self._seconds = settings.key_variable, settings.timeout_seconds

    async def check(self, model: str) -> None:
        """Returns where the endpoint is alive and serves `model`.

        Raises FaultyError where it is out of reach or unwell, UnfitError where it serves other models or
        refuses the key.
        """
        status, _, _ = await self._call("GET", f"{self.url.removesuffix('/v1')}/health", HEALTH_SECONDS)
        if status >= 500:
            raise FaultyError(f"{self.url} answered {status} to the question for its health")
        names = await self.models()
        if model not in names:
            raise UnfitError(
                f"{self.url} does not serve the model {model!r}; it serves {_list(names)}. Set "
                "teacher.server.model to the name under which all endpoints serve the teacher"
            )

    async def models(self) -> list[str]:
        """Names of the models it serves. Raises as `check` does."""
        status, headers, data = await self._call("GET", f"{self.url}/models", HEALTH_SECONDS)
        self._raise_for(status, headers, data)
        try:
            return [str(entry["id"]) for entry in json.loads(data)["data"]]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise FaultyError(f"{self.url}/models answered what is no list of models") from None

    async def ask(self, body: bytes) -> Reply:
        """The reply to a chat request. Raises RefusedError, FaultyError or UnfitError."""
        status, headers, data = await self._call("POST", f"{self.url}/chat/completions", self._seconds, body)
        if 400 <= status < 500 and status not in {401, 403, 404, 408, 425, 429}:
            raise RefusedError(self._said(status, data))
        self._raise_for(status, headers, data)
        try:
            return read_reply(data)
        except ReplyError as reason:
            raise FaultyError(f"{self.url}: {self._clean(str(reason))}") from None

    async def _call(
        self, method: str, url: str, seconds: float, content: bytes | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; nothing of a body that does not end. Raises FaultyError."""
        import httpx2

        headers = {} if content is None else {"Content-Type": "application/json"}
        body = bytearray()
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(method, url, content=content, headers=headers) as response,
            ):
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > BODY_BYTES:
                        raise FaultyError(f"{self.url} answered more than {BODY_BYTES} bytes")
        except TimeoutError:
            raise FaultyError(f"{self.url} did not answer within {seconds:g} seconds") from None
        except httpx2.RequestError as reason:
            words = f"{type(reason).__name__}: {self._clean(str(reason))}".removesuffix(": ")
            arrived = not isinstance(reason, (httpx2.ConnectError, httpx2.ConnectTimeout))
            raise FaultyError(f"{self.url} is out of reach ({words})", arrived=arrived) from None
        return response.status_code, response.headers, bytes(body)

    def _raise_for(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        """Returns for a 200; raises what any other status means for whatever was asked."""
        if status == 200:
            return
        if status in {401, 403}:
            raise UnfitError(
                f"{self.url} answered {status}: it does not accept the key; the environment variable "
                f"{self._variable} {'holds the one that was sent' if self._key else 'is not set'}. Set it to "
                "the endpoint's key, or teacher.server.key_variable to the variable that holds it"
            )
        if status < 500 and status not in {408, 425, 429}:
            hint = "" if self.url.endswith("/v1") else f"; addresses usually end in /v1: try {self.url}/v1"
            raise UnfitError(f"{self._said(status, data)}. Mend teacher.server.urls or model{hint}")
        kind = BusyError if status == 429 else FaultyError
        raise kind(self._said(status, data), _retry_after(headers))

    def _said(self, status: int, data: bytes) -> str:
        words = self._clean(_message(data))
        return f"{self.url} answered {status}" + (f": {words}" if words else "")

    def _clean(self, text: str) -> str:
        """A server's words for a log or a terminal: one line, no key, no memory address."""
        text = text.strip().replace(self._key, "***") if self._key else text.strip()
        return printable(plain(ValueError(text))) if text else ""


def _message(data: bytes) -> str:
    """What a body of an error says: OpenAI's form, FastAPI's, or text that is no page."""
    text = data.decode(errors="replace")
    with suppress(ValueError, RecursionError):
        found: Any = json.loads(text)
        for key in ("error", "message", "detail"):
            if isinstance(found, dict):
                found = found.get(key, found)
        return found if isinstance(found, str) else ""
    return "" if text.lstrip().startswith("<") else text


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After, which comes as a number or as a date; 0 without one."""
    value = headers.get("retry-after", "")
    seconds = 0.0
    with suppress(ValueError, OverflowError):
        seconds = float(value) if value.isdecimal() else _until(value)
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


def _until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - datetime.now(
        UTC
    ).timestamp()


def _list(names: list[str]) -> str:
    shown = ", ".join(printable(repr(name[:200])) for name in names[:_NAMES_SHOWN])
    return (shown or "none") + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
