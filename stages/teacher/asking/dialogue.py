"""One picture's way through teacher and judge: which request comes next, and which rows come out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cache.kinds import KINDS, Kind
from cache.rationales import QuarantineRow, RationaleRow
from stages.data.sample import Sample
from stages.teacher.asking.parse import ParseError, parse_answer
from stages.teacher.asking.task import TaskMaker
from stages.teacher.engines.engine import Answer, Contrast, Request
from stages.teacher.judging.judge import JUDGE_VERSION, Verdict
from stages.teacher.judging.model_judge import ModelJudge

Rules = Callable[[Kind, str, Request], Verdict]

STAGE = "generate-rationales"


@dataclass(frozen=True, slots=True)
class Prior:
    """What earlier calls left of a picture that is not finished.

    attempt  attempts made so far
    kinds    rationales still wanted
    reasons  why their last texts were rejected; only where there was a text
    """

    attempt: int = 0
    kinds: tuple[Kind, ...] = KINDS
    reasons: Mapping[Kind, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """What all dialogues of a call have in common.

    identity  of the engine that writes
    rules     the verdict of the rules on one text
    judge     the model asked where the rules find no fault; None = the rules alone decide
    imports   texts were written elsewhere, for a contrast that is not known here
    """

    maker: TaskMaker
    identity: Mapping[str, Any]
    rules: Rules
    judge: ModelJudge | None
    judge_retries: int
    max_attempts: int
    imports: bool


@dataclass(frozen=True, slots=True)
class _Text:
    """A rationale the rules let pass, and where it came from."""

    text: str
    request: Request
    answer: Answer


class Dialogue:
    """Asks, judges and asks again until the picture is finished.

    `begin` and `take` return the requests to send next: those with `judged` texts to the judging engine, the
    others to the writing one. The picture is finished when no request is open.
    """

    def __init__(self, terms: Terms, sample: Sample, request_key: str, prior: Prior | None = None) -> None:
        prior = prior or Prior()
        self._terms, self._sample, self.request_key = terms, sample, request_key
        self._attempt, self._kinds, self._reasons = prior.attempt, prior.kinds, dict(prior.reasons)
        self.is_first = prior.attempt == 0  # no earlier call asked about the picture
        self.was_useful = len(prior.kinds) < len(KINDS)  # earlier calls left an accepted rationale
        self._open: dict[str, tuple[Request, Sequence[Kind], int]] = {}  # key -> request, its kinds, ask
        self._passed: dict[Kind, _Text] = {}
        self._rejected: dict[Kind, str] = {}
        self._given_up: set[Kind] = set()  # the engine has tried what it can, so no new attempt is made
        self._lost: tuple[str, str] | None = None  # reason and raw answer of what was given up
        self._last = ("", "")  # reason and raw text of the last answer that could not be read
        self._rows: list[RationaleRow] = []

    @property
    def finished(self) -> bool:
        return not self._open

    @property
    def rows(self) -> list[RationaleRow]:
        """Every attempt at every rationale; none where no attempt gave a text, which is a failure."""
        return self._rows if any(row.text for row in self._rows) else []

    @property
    def failure(self) -> QuarantineRow | None:
        """Why the picture, or a rationale of it, was given up, with the last raw answer."""
        if self._lost is None and self.rows:
            return None
        reason, raw = self._lost or self._last
        return QuarantineRow(self._sample.image, STAGE, reason, self._attempt + 1, raw, self.request_key)

    def begin(self) -> list[Request]:
        """The requests of the first attempt of this call."""
        requests = self._terms.maker.requests(self._sample, self._attempt, self._kinds, self._reasons)
        kinds_of: dict[str, list[Kind]] = {}
        for kind, request in requests.items():
            kinds_of.setdefault(request.key, []).append(kind)
        by_key = {request.key: request for request in requests.values()}
        return [self._send(by_key[key], kinds) for key, kinds in kinds_of.items()]

    def take(self, answer: Answer) -> list[Request]:
        """Takes the answer to one open request."""
        request, kinds, ask = self._open.pop(answer.key)
        if request.judged:
            more = self._take_verdicts(request, kinds, ask, answer)
        else:
            more = self._take_texts(request, kinds, answer)
        if more or self._open:
            return more
        return self._ask_judge() or self._next_attempt()

    def _send(self, request: Request, kinds: Sequence[Kind], ask: int = 0) -> Request:
        self._open[request.key] = (request, kinds, ask)
        return request

    def _take_texts(self, request: Request, kinds: Sequence[Kind], answer: Answer) -> list[Request]:
        if answer.finish_reason == "length" and request.token_factor == 1:
            longer = replace(request, key=f"{request.key}+", token_factor=2)
            return [self._send(longer, kinds)]
        try:
            texts = _read(answer, kinds)
        except ParseError as reason:
            self._last = (str(reason), answer.text)
            if answer.finish_reason != "stop":  # the engine has used its own retries, or twice the tokens
                self._give_up(kinds, *self._last)
            for kind in kinds:
                self._reject(kind, _Text("", request, answer), Verdict(False, reason=str(reason)))
            return []
        if not any(texts.values()):
            self._last = ("the answer holds nothing but white space", answer.text)
        for kind, text in texts.items():
            written, verdict = _Text(text, request, answer), self._terms.rules(kind, text, request)
            if not verdict.accepted:
                self._reject(kind, written, verdict)
            elif self._terms.judge is None:
                self._add_row(kind, written, verdict)
            else:
                self._passed[kind] = written
        return []

    def _ask_judge(self, ask: int = 0) -> list[Request]:
        """A request for a verdict on every text of this attempt that the rules let pass."""
        if not self._passed or self._terms.judge is None:
            return []
        asked = next(iter(self._passed.values())).request
        if self._terms.imports:
            asked = replace(asked, contrast=Contrast("", {}))
        texts = {kind: written.text for kind, written in self._passed.items()}
        key = f"{self._sample.image}#{self._attempt}#judge{ask or ''}"
        return [self._send(self._terms.judge.request(asked, texts, key, ask), list(texts), ask)]

    def _take_verdicts(
        self, request: Request, kinds: Sequence[Kind], ask: int, answer: Answer
    ) -> list[Request]:
        assert self._terms.judge is not None
        try:
            verdicts = self._terms.judge.read(answer, kinds)
        except ParseError as reason:
            if ask < self._terms.judge_retries:
                return self._ask_judge(ask + 1)
            fault = f"the judge gave no verdict: {reason}"
            self._give_up(kinds, fault, answer.text)
            verdicts = {kind: Verdict(False, reason=fault) for kind in kinds}
        for kind, verdict in verdicts.items():
            written = self._passed.pop(kind)
            if verdict.accepted:
                self._add_row(kind, written, verdict, self._terms.judge.name)
            else:
                self._reject(kind, written, verdict, self._terms.judge.name)
        return []

    def _give_up(self, kinds: Sequence[Kind], reason: str, raw: str) -> None:
        self._given_up.update(kinds)
        self._lost = (reason, raw)

    def _reject(self, kind: Kind, written: _Text, verdict: Verdict, model: str = "") -> None:
        self._add_row(kind, written, verdict, model)
        self._rejected[kind] = verdict.reason

    def _next_attempt(self) -> list[Request]:
        """Asks again for what was rejected; nothing where attempts are used up or an engine gave up."""
        self._reasons, self._rejected = self._rejected, {}
        self._kinds = tuple(kind for kind in KINDS if kind in self._reasons and kind not in self._given_up)
        if not self._kinds or self._attempt + 1 >= self._terms.max_attempts:
            return []
        self._attempt += 1
        return self.begin()

    def _add_row(self, kind: Kind, written: _Text, verdict: Verdict, model: str = "") -> None:
        request, answer, identity = written.request, written.answer, self._terms.identity
        sample, imports = request.sample, self._terms.imports
        self._rows.append(
            RationaleRow(
                image=sample.image,
                split=sample.split,
                verb=sample.verb,
                aspect=kind.aspect,
                polarity=kind.polarity,
                attempt=self._attempt,
                text=written.text,
                contrast_verb="" if imports else request.contrast.verb,
                contrast_nouns=json.dumps({} if imports else dict(request.contrast.nouns), sort_keys=True),
                status="accepted" if verdict.accepted else "rejected",
                judge=f"rules-{JUDGE_VERSION}" + (f"+{model}" if model else ""),
                score=verdict.score,
                reason=verdict.reason,
                request_key=self.request_key,
                teacher=identity["teacher"],
                revision=identity["revision"],
                prompt_id=self._terms.maker.prompt_id,
                sampling=json.dumps(identity["sampling"], sort_keys=True),
                seed=request.seed,
                tokens_in=answer.tokens_in,
                tokens_out=answer.tokens_out,
                seconds=answer.seconds,
                finish_reason=answer.finish_reason,
            )
        )


def _read(answer: Answer, kinds: Sequence[Kind]) -> dict[Kind, str]:
    if answer.finish_reason == "error":
        raise ParseError(f"the engine gave no answer: {answer.error}")
    if answer.finish_reason == "length":
        raise ParseError("the answer was cut at the engine's token limit, and again at twice that")
    return parse_answer(answer.text, kinds)
