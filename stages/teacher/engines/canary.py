"""One request before the real work that shows whether an engine holds its answers to a schema.

An engine that ignores structured output answers in prose, and every one of thousands of answers would be
thrown away. The schema allows one of two words that the question does not mention.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from cache.errors import MachineError, UserError
from stages.printable import printable
from stages.teacher.engines.engine import Answer, Engine, Prompt, Request

_WORDS = ("tern", "wren")
_SCHEMA = {
    "type": "object",
    "properties": {"seal": {"type": "string", "enum": list(_WORDS)}},
    "required": ["seal"],
    "additionalProperties": False,
}
_PROMPT = Prompt(
    system="You look at pictures and answer in plain English.",
    shared="A picture follows.",
    question="What is to be seen? Answer in one short sentence.",
)
_SHOWN = 80


def check_schema_is_obeyed(
    engine: Engine, examples: Sequence[Request], role: str, must_answer: bool = True
) -> None:
    """Asks about the first of the example pictures that the engine takes.

    must_answer  False where the engine has failed at these pictures before

    Raises UserError where the answer does not obey the schema or has too few tokens for it, MachineError
    where no picture was answered and one must be.
    """
    fault = ""
    for number, example in enumerate(examples):
        request = replace(
            example, key=f"canary#{role}#{number}", prompt=_PROMPT, schema=_SCHEMA, judged={}, greedy=True
        )
        (answer,) = engine.answer([request])
        if answer.finish_reason == "length":  # tried again with more, as the real ones are
            (answer,) = engine.answer([replace(request, key=f"{request.key}+", token_factor=2)])
        if answer.finish_reason != "error":
            _check(answer, role)
            return
        fault = answer.error
    if not must_answer:
        return
    raise MachineError(
        f"the {role} answered none of {len(examples)} trial requests ({printable(fault)}), so the real ones "
        "were not begun; mend what it says, then run the same command again"
    )


def _check(answer: Answer, role: str) -> None:
    try:
        obeyed = json.loads(answer.text) in [{"seal": word} for word in _WORDS]
    except (ValueError, RecursionError):
        obeyed = False
    if obeyed:
        return
    shown = answer.text if len(answer.text) <= _SHOWN else answer.text[:_SHOWN] + "..."
    if answer.finish_reason == "length" and _begins_well(answer.text):
        raise UserError(
            f"the {role} was cut at its limit of tokens, and again at twice that, before a trial answer of "
            f"ten tokens was whole (it wrote {answer.tokens_out} tokens, and of the answer {shown!a}): "
            f"max_tokens of the {role} is too small, or the model thinks at length before it answers; raise "
            "it, or switch thinking off"
        )
    raise UserError(
        f"the {role} does not hold its answers to a JSON schema: asked for one of {', '.join(_WORDS)} "
        f"under `seal`, it answered {shown!a} (finish reason {answer.finish_reason}). Every rationale "
        "would be thrown away: serve the model with structured output, e.g. `vllm serve MODEL "
        '--structured-outputs-config \'{"backend": "guidance"}\'`, or choose another engine'
    )


def _begins_well(text: str) -> bool:
    """Whether a cut answer is the beginning of one that obeys, white space aside; also an empty one is."""
    written = "".join(text.split())
    return any(f'{{"seal":"{word}"}}'.startswith(written) for word in _WORDS)
