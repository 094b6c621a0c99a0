"""The judge that looks: a model sees picture, annotation and rationales, and gives a verdict on each.

A rationale is text that a model wrote, and it stands in the judge's prompt. It is quoted as JSON there, with
brackets as escapes, so that it can neither close its quotes nor spell a token that ends the turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from cache.keys import derive_number, fingerprint
from cache.kinds import KINDS, Kind
from stages.data.vocabulary import Vocabulary
from stages.teacher.asking.parse import ParseError, clean_text, parse_object
from stages.teacher.asking.prompt import annotation_words, contrast_words, load_prompt, prompt_identity
from stages.teacher.engines.engine import Answer, Prompt, Request
from stages.teacher.judging.judge import Verdict
from stages.teacher.judging.judge_settings import JudgeSettings

VERDICT_PARSER_VERSION = 1  # enters the request key: raise it when the same answer would be read differently

SCORES = (1, 2, 3, 4, 5)
_REASON_CHARS = 300  # hard limit in the schema
_REASON_KEPT = 200  # what goes to the teacher and into the row
_SPECIAL = str.maketrans(
    dict.fromkeys("<>[]{}`\\")
)  # what a template or a tokenizer could read as more than text
_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in "<>[]"}
_NAME_CHARS = 40


class ModelJudge:
    """Asks for verdicts and reads them.

    engine_identity  `Engine.identity` of the model that judges

    Raises UserError where `settings.prompt` is not there or not a judge's prompt.
    """

    def __init__(
        self, settings: JudgeSettings, vocabulary: Vocabulary, engine_identity: Mapping[str, Any]
    ) -> None:
        self._prompt = load_prompt(settings.prompt, "judge")
        self._min_score, self._vocabulary = settings.min_score, vocabulary
        prompt = prompt_identity(settings.prompt, "judge", VERDICT_PARSER_VERSION)
        self._identity = {
            "engine": dict(engine_identity),
            **prompt,
            "min_score": settings.min_score,
            "sampling": "greedy, then sampled",
        }
        model = PurePath(engine_identity["teacher"]).name[:_NAME_CHARS]
        self.name = f"{model}@{engine_identity['revision'][:8]}/{fingerprint(prompt)[:6]}"

    def identity(self) -> Mapping[str, Any]:
        """Everything that decides a verdict.

        Left out: `judge.retries`, which only bounds how often an answer that cannot be read is asked for
        again.
        """
        return self._identity

    def request(self, asked: Request, texts: Mapping[Kind, str], key: str, ask: int) -> Request:
        """One question about all `texts` of one attempt, so that the picture is read once.

        asked  the request that the texts answer
        ask    0 takes the likeliest tokens; above, the answer before could not be read: drawn anew from a
               seed of its own, with twice the tokens, because it may have been cut
        """
        return replace(
            asked,
            key=key,
            prompt=self._words(asked, texts),
            schema=verdict_schema([kind for kind in KINDS if kind in texts]),
            seed=derive_number("judge", asked.sample.image, asked.seed, ask, bits=31),
            judged=dict(texts),
            greedy=ask == 0,
            token_factor=2 if ask else 1,
        )

    def read(self, answer: Answer, kinds: Sequence[Kind]) -> dict[Kind, Verdict]:
        """One verdict per kind, in the order of `kinds`. Raises ParseError where it cannot be read."""
        if answer.finish_reason == "error":
            raise ParseError(f"the engine gave no answer: {answer.error}")
        if answer.finish_reason == "length":
            raise ParseError("the answer was cut at the engine's token limit")
        fields = parse_object(answer.text, [kind.field for kind in kinds])
        return {kind: self._verdict(kind.field, fields[kind.field]) for kind in kinds}

    def _words(self, asked: Request, texts: Mapping[Kind, str]) -> Prompt:
        """The contrast is shown where a negative is judged and its wrong situation is known."""
        sample, contrast, vocabulary = asked.sample, asked.contrast, self._vocabulary
        negative = any(kind.polarity == "negative" for kind in texts)
        shown = ""
        if negative and contrast.verb in vocabulary.frames:
            words = contrast_words(sample, contrast, vocabulary)
            shown = "\n\n" + self._prompt.contrast.substitute(words)
        kinds = [kind for kind in KINDS if kind in texts]
        question = self._prompt.question.substitute(
            annotation_words(sample, vocabulary),
            contrast=shown,
            texts="\n".join(f"- {kind.field}: {_quoted(texts[kind])}" for kind in kinds),
            fields=", ".join(kind.field for kind in kinds),
        )
        return Prompt(self._prompt.system, self._prompt.shared, question)

    def _verdict(self, name: str, given: Any) -> Verdict:
        if not isinstance(given, dict) or set(given) != {"reason", "score", "verdict"}:
            raise ParseError(f"field {name!r} is not an object of reason, score and verdict")
        verdict, score, reason = given["verdict"], given["score"], given["reason"]
        if verdict not in ("accept", "reject"):
            raise ParseError(f"the verdict on {name!r} is neither accept nor reject")
        if type(score) is not int or score not in SCORES:
            raise ParseError(f"the score of {name!r} is not an integer from 1 to 5")
        if not isinstance(reason, str):
            raise ParseError(f"the reason for {name!r} is {type(reason).__name__}, not text")
        why = _shortened(clean_text(reason.translate(_SPECIAL)))
        if verdict == "reject":
            return Verdict(False, score, why or "the judge rejected the text and gave no reason")
        if score < self._min_score:
            bound = f"the judge gave {score} of 5 points, fewer than min_score {self._min_score}"
            return Verdict(False, score, f"{bound}: {why}" if why else bound)
        return Verdict(True, score)


def verdict_schema(kinds: Sequence[Kind]) -> dict[str, Any]:
    """JSON schema of the verdicts on `kinds`, in that order.

    The reason comes first: a model that writes from left to right then decides after it has reasoned.
    """
    verdict = {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": _REASON_CHARS},
            "score": {"type": "integer", "enum": list(SCORES)},
            "verdict": {"type": "string", "enum": ["accept", "reject"]},
        },
        "required": ["reason", "score", "verdict"],
        "additionalProperties": False,
    }
    names = [kind.field for kind in kinds]
    return {
        "type": "object",
        "properties": {name: dict(verdict) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_ESCAPED)


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _REASON_KEPT else reason[:_REASON_KEPT].rsplit(" ", 1)[0] + " ..."
