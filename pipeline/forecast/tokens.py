"""How many tokens the requests that are left take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.forecast.experience import Experience
from pipeline.forecast.requests import Todo, Work
from pipeline.forecast.spread import Spread
from stages.teacher.engines.engine import Request
from stages.teacher.generate import Generator
from stages.teacher.settings import TeacherSettings

_EXAMPLES = 32  # pictures whose requests are looked at where nothing was measured
# English text: about 4 characters a token with the vocabularies of today's models, 3 to 5 between them.
_CHARS_LOW, _CHARS, _CHARS_HIGH = 5.0, 4.0, 3.0
# Qwen2.5-VL cuts a picture into one token per 28 x 28 pixels; other models take half of it, or twice.
_PIXELS_PER_TOKEN = 28 * 28
_SHORTEST_TEXT = 25  # tokens of a short rationale with its name in the JSON
_SHORTEST_VERDICT, _LONGEST_VERDICT = 15, 100  # tokens: score and verdict alone, and with the longest reason
ASSUMED = (
    "assumed: text of 3 to 5 characters a token, a picture of half to twice one token per 28 x 28 pixels, "
    "texts from 25 tokens to max_chars"
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens per request, and what they come from; None where the engine reads none."""

    tokens_in: Spread
    tokens_out: Spread
    basis: str


def per_request(
    generator: Generator | None, todo: Todo, settings: TeacherSettings, experience: Experience | None
) -> Tokens | None:
    """Of a request for rationales; None where no language model writes or nobody can say."""
    if not settings.asks_model:
        return None
    if experience is not None and experience.tokens_in is not None and experience.tokens_out is not None:
        return Tokens(experience.tokens_in, experience.tokens_out, experience.basis)
    if generator is None or not todo:
        return None
    examples = [_first_request(generator, todo, i) for i in range(0, len(todo), _step(todo))]
    texts = len(examples[0].schema["properties"])
    longest = min(texts * settings.max_chars / _CHARS, _max_tokens(settings))
    return Tokens(
        tokens_in=_tokens_in(examples, settings),
        tokens_out=Spread(min(texts * _SHORTEST_TEXT, longest), None, longest),
        basis=ASSUMED,
    )


def per_verdict(written: Tokens | None, settings: TeacherSettings) -> Tokens | None:
    """Of a request to the judging model; the same picture and annotation, and the texts beside them."""
    if written is None or settings.judge.by in ("rules", "template"):
        return None
    texts = 4
    low, high = texts * _SHORTEST_TEXT, texts * settings.max_chars / _CHARS
    return Tokens(
        tokens_in=written.tokens_in + Spread(low, None, high),
        tokens_out=Spread(texts * _SHORTEST_VERDICT, None, texts * _LONGEST_VERDICT),
        basis="assumed: the teacher's own request and the texts; 15 to 100 tokens a verdict",
    )


def sums(work: Work, written: Tokens | None, judged: Tokens | None) -> tuple[Spread, Spread]:
    """Tokens in and out of everything that is left."""
    tokens_in = tokens_out = Spread.exactly(0)
    for requests, tokens in ((work.writing, written), (work.judging, judged)):
        if tokens is not None:
            tokens_in += requests * tokens.tokens_in
            tokens_out += requests * tokens.tokens_out
    return tokens_in, tokens_out


def _step(todo: Todo) -> int:
    return max(1, len(todo) // _EXAMPLES)


def _first_request(generator: Generator, todo: Todo, number: int) -> Request:
    return generator.begin(*todo[number]).begin()[0]


def _tokens_in(examples: Sequence[Request], settings: TeacherSettings) -> Spread:
    prompts = (request.prompt for request in examples)
    letters = Spread.of([float(len(p.system) + len(p.shared) + len(p.question)) for p in prompts])
    bound = _max_pixels(settings)
    sizes = [request.sample.width * request.sample.height for request in examples]
    pixels = Spread.of([float(min(size, bound) if bound else size) for size in sizes])
    low = letters.low / _CHARS_LOW + pixels.low / _PIXELS_PER_TOKEN / 2
    high = letters.high / _CHARS_HIGH + pixels.high / _PIXELS_PER_TOKEN * 2
    return Spread(low, None, high)


def _max_pixels(settings: TeacherSettings) -> int:
    """The bound that the picture processor is given; 0 = none, or not known here."""
    bound = 0 if settings.engine == "server" else settings.vllm.processor.get("max_pixels", 0)
    return bound if isinstance(bound, int) else 0


def _max_tokens(settings: TeacherSettings) -> int:
    return settings.server.max_tokens if settings.engine == "server" else settings.vllm.max_tokens
