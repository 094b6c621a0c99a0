"""The seam between stage one and whatever writes the rationales: a language model, a server, a template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from cache.kinds import Kind
from stages.data.sample import Sample

FinishReason = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """The plausible but wrong situation that the negative rationales describe.

    verb   a seen verb near the true one in label-text space
    nouns  role -> WordNet id of a wrong noun; only roles that at least one annotator filled
    """

    verb: str
    nouns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text around the picture. `shared` is equal for all pictures and `question` is not.

    Sent as system, then shared, then the picture, then the question, so that an engine's prefix cache
    reuses everything in front of the picture.
    """

    system: str
    shared: str
    question: str


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one picture.

    key             unique within a run; an Answer carries it back
    picture_digest  blake2b of the file's bytes; an engine may cache the picture under it
    schema          JSON schema that the answer's text must obey
    seed            derived from (image, question, attempt), never from a position
    judged          the rationales to give a verdict on; empty where rationales are to be written
    greedy          take the likeliest tokens, whatever the engine's temperature
    token_factor    multiplies the engine's limit on an answer's tokens: 2 after an answer that was cut
    """

    key: str
    sample: Sample
    contrast: Contrast
    picture: Path
    picture_digest: str
    prompt: Prompt
    schema: Mapping[str, Any]
    seed: int
    judged: Mapping[Kind, str] = field(default_factory=dict)
    greedy: bool = False
    token_factor: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request.

    text           raw answer; empty where finish_reason is "error"
    finish_reason  "stop" = complete; "length" = cut by the token limit; "error" = none, see `error`
    tokens_in      tokens of the prompt, the picture's included; 0 where the engine counts none
    seconds        from the moment the engine accepted the request
    """

    key: str
    text: str
    finish_reason: FinishReason
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    error: str = ""


class Engine(Protocol):
    """Answers requests one by one, each alone in its failure.

    `identity` names everything on the engine's side that decides an answer's bytes (engine, model,
    revision, sampling); it enters the request key, so it must be complete after all defaults.
    """

    def identity(self) -> Mapping[str, Any]:
        """Effective settings, JSON-able; available before the engine is loaded."""
        ...

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Yields answers as they finish, in any order; takes requests lazily.

        A bad request becomes an Answer with finish_reason "error"; only the death of the engine raises
        (`cache.errors.MachineError`).
        """
        ...

    def close(self) -> None:
        """Frees the engine's processes and memory; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Engines:
    """Who writes and who judges. `judge` is None where the rules alone do, or the writer judges itself."""

    writer: Engine
    judge: Engine | None = None
