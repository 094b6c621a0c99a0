"""Settings of a teacher behind OpenAI-compatible endpoints, such as `vllm serve`."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from stages.settings import Settings


def _blank_secrets(url: object) -> object:
    """An address is quoted where it is refused, so what may be a secret in it goes first."""
    if not isinstance(url, str):
        return url
    url = re.sub(r"^(\w+://)?.*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"[?#].*", "?***", url, flags=re.DOTALL)


def _check_url(url: str) -> str:
    """The address without a slash at its end. Raises ValueError."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://, as in http://127.0.0.1:8000/v1")
    if "@" in url:
        raise ValueError(
            "an address must hold no user name and no password, because it is written into the run folder; "
            "put the key into the environment variable that teacher.server.key_variable names"
        )
    if "?" in url:
        raise ValueError("must end with its path, as in http://127.0.0.1:8000/v1; nothing may follow")
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0  # .port raises where it is no number up to 65535
    except ValueError:
        named = False
    if not named or not url.isascii() or any(letter.isspace() for letter in url):
        raise ValueError("not an address with a host and a port, as in http://127.0.0.1:8000/v1")
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_check_url), BeforeValidator(_blank_secrets)]


class ServerSettings(Settings):
    """One or several endpoints that serve the same model, and its sampling."""

    urls: list[Url] = Field(default=["http://127.0.0.1:8000/v1"], min_length=1)
    """Base addresses up to and with `/v1`; requests go to whichever is alive and has room."""
    model: str = ""
    """Name under which every endpoint serves the model; empty takes the only one they serve."""
    revision: str = ""
    """Your note of which weights are served, for the request key: the endpoint does not tell. Change it
    when the endpoint gets other weights under the same name, and the pictures are asked about again."""
    key_variable: str = Field(default="OPENAI_API_KEY", min_length=1)
    """Environment variable that holds the endpoints' key; unset or empty sends none. The key itself is
    never written anywhere."""
    concurrency: int = Field(default=32, ge=1)
    """Requests open at the same time on each endpoint."""
    timeout_seconds: float = Field(default=300, gt=0)
    """How long one answer may take, to its last byte, before it is asked for again."""
    retries: int = Field(default=5, ge=0)
    """How often a request that failed at a living endpoint (time-out, 429, 5xx, half a body, no JSON) is sent
    again before it counts as failed; an endpoint that is out of reach uses none of them up."""
    backoff_seconds: float = Field(default=1, ge=0)
    """First pause before a request is sent again; doubles each time, up to 60 seconds. A Retry-After of the
    endpoint is waited for as well."""
    dead_after_seconds: float = Field(default=300, gt=0)
    """The command ends when every endpoint has been out of reach for this long; until then it waits, as for a
    server that is still loading its model."""
    picture: Literal["data", "file"] = "data"
    """How a picture travels: `data` inside the request; `file` as a path that the endpoint reads itself
    (`vllm serve --allowed-local-media-path`), except pictures that have to be converted first."""
    temperature: float = Field(default=0.7, ge=0, le=2)
    """0 always takes the likeliest token."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Only the likeliest tokens that together hold this probability are drawn from."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest answer in tokens; below what four texts of `teacher.max_chars` need, answers are cut."""

    @field_validator("urls")
    @classmethod
    def _each_once(cls, urls: list[str]) -> list[str]:
        twice = sorted({url for url in urls if urls.count(url) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is named twice; raise teacher.server.concurrency instead")
        return urls
