"""One chat completion: the body that asks, and the body that answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from stages.teacher.engines.engine import FinishReason, Request
from stages.teacher.engines.server_settings import ServerSettings

_DROPPED = frozenset({"abort", "error"})  # the server gave up by itself; asked again, it may not


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer on its way to its request; the fields of `stages.teacher.engines.engine.Answer`."""

    text: str
    finish_reason: FinishReason
    tokens_in: int = 0
    tokens_out: int = 0
    error: str = ""


class ReplyError(ValueError):
    """The body holds no answer; the message says in what way, and asking again may help."""


def chat_body(request: Request, picture: str, model: str, settings: ServerSettings) -> bytes:
    """The JSON body that asks `request`, with the picture at the address `picture`.

    Shared text, picture, question: what all pictures have in common is first, to be computed once.
    """
    content = [
        {"type": "text", "text": request.prompt.shared},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": request.prompt.question},
    ]
    schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": request.prompt.system},
            {"role": "user", "content": content},
        ],
        "response_format": {"type": "json_schema", "json_schema": schema},
        "seed": request.seed,
        "temperature": 0.0 if request.greedy else settings.temperature,
        "top_p": settings.top_p,
        "max_completion_tokens": settings.max_tokens * request.token_factor,
    }
    return json.dumps(body).encode()


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def read_reply(data: bytes) -> Reply:
    """The answer in the body of a 200. Raises ReplyError where there is none."""
    try:
        completion = _Completion.model_validate_json(data)
    except ValidationError as found:
        raise ReplyError(_describe(found)) from None
    choice, usage = completion.choices[0], completion.usage or _Usage()
    tokens = usage.prompt_tokens, usage.completion_tokens
    text, end = choice.message.content, choice.finish_reason
    if end == "length":  # a model that thinks first may be cut before its first word
        return Reply(text or "", "length", *tokens)
    if end is None or end in _DROPPED:
        raise ReplyError(f"the answer was broken off (finish_reason {end})")
    if end != "stop":
        return Reply("", "error", *tokens, error=f"the answer ended with {end[:40]!r}")
    if text is None:
        raise ReplyError("the answer has no content")
    return Reply(text, "stop", *tokens)


def _describe(found: ValidationError) -> str:
    error = found.errors(include_url=False, include_input=False, include_context=False)[0]
    if error["type"] == "json_invalid":
        return f"the body is not JSON ({error['msg'].removeprefix('Invalid JSON: ')})"
    return f"the body is no chat completion ({'.'.join(map(str, error['loc']))}: {error['msg']})"
