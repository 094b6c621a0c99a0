"""The first command of stage one: asks the teacher for rationales, judges them, keeps every attempt.

A picture is finished when its four rationales are accepted or its attempts are used up. All its rows are
written together, and its request key says what decided them, so a finished picture is never asked for again.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from cache.errors import FindingsError, UserError
from cache.kinds import Kind
from cache.lock import writer_lock
from cache.manifest import editing, remove_leftovers
from cache.paths import StorePaths
from cache.rationales import QuarantineRow, RationaleRow, append_quarantine, copy_version
from stages.data.ledger import PictureLedger
from stages.data.sample import Sample
from stages.data.swig import DataSet
from stages.reporter import Reporter
from stages.teacher.contrast import ContrastChooser
from stages.teacher.engine import Answer, Engine, Request
from stages.teacher.judge import JUDGE_VERSION, Verdict, judge
from stages.teacher.parse import ParseError, parse_answer
from stages.teacher.part_buffer import PartBuffer
from stages.teacher.plan import GeneratePlan, make_plan, new_failures
from stages.teacher.settings import JudgeSettings, TeacherSettings
from stages.teacher.task import Task, TaskMaker

STAGE = "generate-rationales"


@dataclass(frozen=True, slots=True)
class GenerateSummary:
    """What one call did. Pictures, except where the name says rationales."""

    asked: int
    kept: int
    revived: int
    changed: int
    failed: int
    rationales_accepted: int
    rationales_rejected: int


class Generator:
    """Drives an engine over the training pictures of a data set and fills a store.

    data, ledger   what to ask about; the ledger must have checked the pictures
    chooser        picks each picture's contrast; never an unseen verb
    """

    def __init__(
        self,
        data: DataSet,
        ledger: PictureLedger,
        engine: Engine,
        chooser: ContrastChooser,
        settings: TeacherSettings,
        paths: StorePaths,
        reporter: Reporter,
        producer: Mapping[str, Any],
    ) -> None:
        self.data, self.ledger, self.engine = data, ledger, engine
        self.settings, self.paths, self.reporter = settings, paths, reporter
        self._producer = {"command": STAGE, **producer}
        self._identity = dict(engine.identity())
        self._imports = settings.engine == "captions"  # what was written elsewhere has a contrast of its own
        self._held_out = frozenset(v for v, subset in data.subset_of.items() if subset == "unseen")
        deciders = [self._identity, _judge_identity(settings.judge, self._held_out)]
        self._maker = TaskMaker(data, ledger, chooser, settings, deciders)

    def run(self, max_failure_rate: float) -> GenerateSummary:
        """Asks for whatever is missing.

        Raises FindingsError when more than `max_failure_rate` of the training pictures failed; everything
        finished is kept whatever is raised.
        """
        with writer_lock(self.paths.root, STAGE):
            remove_leftovers(self.paths)
            self._describe_data()
            plan = make_plan(self.data, self.ledger, self._maker, self.paths, self.settings.max_attempts)
            plan.tell(self.reporter)
            copy_version(self.paths, plan.revive, self._producer)
            append_quarantine(self.paths, new_failures(self.paths, plan.failures), self._producer)
            settings = self.settings
            buffer = PartBuffer(
                self.paths, self._producer, settings.pictures_per_part, settings.seconds_per_part
            )
            with buffer:
                self._answer_all(plan, buffer)
        summary = _summarise(plan, buffer)
        self.reporter.event("rationales-finished", **asdict(summary))
        _check_failures(summary.failed, plan.total, max_failure_rate)
        return summary

    def _describe_data(self) -> None:
        held_out = tuple(sorted(self._held_out))
        with editing(self.paths) as cell:
            cell[0] = replace(cell[0], data_fingerprint=self.data.fingerprint, held_out_verbs=held_out)

    def _answer_all(self, plan: GeneratePlan, buffer: PartBuffer) -> None:
        """Feeds the engine until no picture is open; rejected ones go in again ahead of new ones."""
        fresh: Iterator[Sample] = iter(plan.todo)
        again: deque[Task] = deque()
        open_tasks: dict[str, Task] = {}
        left = len(plan.todo)

        def source() -> Iterator[Request]:
            while task := self._next_task(again, fresh):
                open_tasks[task.request.key] = task
                yield task.request

        with self.reporter.progress(STAGE, plan.finished + left, plan.finished) as advance:
            while left:  # an answer may bring a task back after the engine has taken the last one
                for answer in self.engine.answer(source()):
                    task = open_tasks.pop(answer.key)
                    if self._take(task, answer, buffer):
                        again.append(task)
                    else:
                        left -= 1
                        advance(1)
                assert not open_tasks, f"the engine ended without an answer to {next(iter(open_tasks))!r}"

    def _next_task(self, again: deque[Task], fresh: Iterator[Sample]) -> Task | None:
        if again:
            return again.popleft()
        sample = next(fresh, None)
        return None if sample is None else self._maker.first(sample)

    def _take(self, task: Task, answer: Answer, buffer: PartBuffer) -> bool:
        """Judges one answer. True = the task was rewritten and wants to be asked again."""
        last = task.attempt + 1 >= self.settings.max_attempts
        try:
            rejected = self._add_rows(task, answer)
        except ParseError as reason:
            last = last or answer.finish_reason == "error"  # the engine has used its own retries
            if last and not task.rows:
                buffer.fail(_failure(task, str(reason), answer.text))
                return False
            rejected = {kind: str(reason) for kind in task.open_kinds}
            if last:
                verdict = Verdict(False, reason=str(reason))
                task.rows += [self._row(task, kind, "", verdict, answer) for kind in task.open_kinds]
        if rejected and not last:
            self._maker.again(task, rejected)
            return True
        buffer.finish(task.rows)
        return False

    def _add_rows(self, task: Task, answer: Answer) -> dict[Kind, str]:
        """Adds a row for each kind of the answer; returns the rejected kinds with the reasons."""
        if answer.finish_reason == "error":
            raise ParseError(f"the engine gave no answer: {answer.error}")
        if answer.finish_reason == "length":
            raise ParseError("the answer was cut at the engine's token limit")
        texts = parse_answer(answer.text, task.open_kinds)
        rows = {
            kind: self._row(task, kind, text, self._judge(task, kind, text), answer)
            for kind, text in texts.items()
        }
        task.rows += rows.values()
        return {kind: row.reason for kind, row in rows.items() if row.status == "rejected"}

    def _judge(self, task: Task, kind: Kind, text: str) -> Verdict:
        request, bounds = task.request, self.settings.judge
        # Imported texts have wrong nouns of their own, which nobody published: none can be asked for.
        contrast = replace(request.contrast, nouns={}) if self._imports else request.contrast
        vocabulary = self.data.vocabulary
        return judge(kind, text, request.sample, contrast, vocabulary, self._held_out, bounds)

    def _row(self, task: Task, kind: Kind, text: str, verdict: Verdict, answer: Answer) -> RationaleRow:
        sample, contrast = task.request.sample, task.request.contrast
        return RationaleRow(
            image=sample.image,
            split=sample.split,
            verb=sample.verb,
            aspect=kind.aspect,
            polarity=kind.polarity,
            attempt=task.attempt,
            text=text,
            contrast_verb="" if self._imports else contrast.verb,
            contrast_nouns=json.dumps({} if self._imports else dict(contrast.nouns), sort_keys=True),
            status="accepted" if verdict.accepted else "rejected",
            judge=f"rules-{JUDGE_VERSION}",
            score=verdict.score,
            reason=verdict.reason,
            request_key=task.request_key,
            teacher=self._identity["teacher"],
            revision=self._identity["revision"],
            prompt_id=self._maker.prompt_id,
            sampling=json.dumps(self._identity["sampling"], sort_keys=True),
            seed=task.request.seed,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            seconds=answer.seconds,
            finish_reason=answer.finish_reason,
        )


def _judge_identity(settings: JudgeSettings, held_out: frozenset[str]) -> dict[str, Any]:
    """What decides a verdict. Left out: `max_attempts`, which only bounds how many verdicts there are."""
    bounds = settings.model_dump(exclude={"max_attempts"})
    return {"judge": "rules", "version": JUDGE_VERSION, **bounds, "held_out": sorted(held_out)}


def _failure(task: Task, reason: str, raw: str) -> QuarantineRow:
    """The record of a picture for which no attempt gave a single rationale."""
    return QuarantineRow(task.request.sample.image, STAGE, reason, task.attempt + 1, raw, task.request_key)


def _summarise(plan: GeneratePlan, buffer: PartBuffer) -> GenerateSummary:
    return GenerateSummary(
        asked=len(plan.todo),
        kept=plan.kept,
        revived=len(plan.revive),
        changed=plan.changed,
        failed=len(plan.failures) + plan.failed_before + buffer.failed,
        rationales_accepted=buffer.accepted,
        rationales_rejected=buffer.rejected,
    )


def _check_failures(failed: int, total: int, bound: float) -> None:
    if total == 0:
        raise UserError(
            "the data set has no training picture, so there is nothing to write rationales for; "
            "see every problem with `mipd-pipe check-data`"
        )
    if failed > bound * total:
        raise FindingsError(
            f"{failed} of {total} training pictures failed ({failed / total:.1%}), more than "
            f"max_failure_rate {bound:.1%}; everything finished is kept. Reasons: "
            "`mipd-pipe inspect rows --status failed`"
        )
