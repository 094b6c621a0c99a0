"""The first command of stage one: asks the teacher for rationales, judges them, keeps every attempt.

A picture is finished when its four rationales are accepted or its attempts are used up. All its rows of a
call are written together, and its request key says what decided them, so a finished picture is never asked
for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cache.errors import FindingsError, UserError
from cache.kinds import Kind
from cache.manifest import editing, remove_leftovers
from cache.order import in_shard
from cache.paths import StorePaths
from cache.rationales import append_quarantine, copy_version, read_quarantine
from stages.batches import batches
from stages.data.ledger import PictureLedger
from stages.data.sample import Sample
from stages.data.swig import DataSet
from stages.plural import counted
from stages.reporter import Reporter
from stages.teacher.asking.contrast import ContrastChooser
from stages.teacher.asking.dialogue import STAGE, Dialogue, Prior, Terms
from stages.teacher.asking.part_buffer import PartBuffer
from stages.teacher.asking.plan import GeneratePlan, make_plan, new_failures
from stages.teacher.asking.request_keys import RequestKeys
from stages.teacher.asking.shard import Shard
from stages.teacher.asking.talk import Talk
from stages.teacher.asking.task import AT_ONCE, TaskMaker
from stages.teacher.engines.canary import check_schema_is_obeyed
from stages.teacher.engines.engine import Engines, Request
from stages.teacher.judging.judge import JUDGE_VERSION, Verdict, judge
from stages.teacher.judging.language import check_language
from stages.teacher.judging.model_judge import ModelJudge
from stages.teacher.settings import JudgeSettings, TeacherSettings

MANY_REJECTED = 0.5  # share of a call's rationales beyond which its rejections are told of
_REASONS_TOLD = 3
_TRIALS = 3  # pictures to try an engine with, until it answers about one
_SECONDS_BETWEEN_SAVES = 60.0  # of the request keys; what a kill loses is worked out again


@dataclass(frozen=True, slots=True)
class GenerateSummary:
    """What one call did. Pictures, except where the name says otherwise.

    empty    pictures that have rationales, but no accepted one, those of earlier calls included
    left     not asked, because the time allowed was over
    rejected_because  the commonest reasons of this call's rejections, and how often each was given
    seconds  from the first request to the last answer
    """

    asked: int
    kept: int
    revived: int
    changed: int
    failed: int
    empty: int
    left: int
    rationales_accepted: int
    rationales_rejected: int
    rejected_because: Mapping[str, int]
    requests: int
    seconds: float
    tokens_in: int
    tokens_out: int

    @property
    def warning(self) -> str:
        """Says that most rationales were rejected, and mostly why; empty where that is not so."""
        written = self.rationales_accepted + self.rationales_rejected
        if self.rationales_rejected <= MANY_REJECTED * written:
            return ""
        reasons = "; ".join(f"{count} x {reason}" for reason, count in self.rejected_because.items())
        return (
            f"warning: {self.rationales_rejected} of {written} rationales were rejected "
            f"({self.rationales_rejected / written:.0%}), mostly because: {reasons}"
        )


class Generator:
    """Drives the engines over the training pictures of a data set and fills a store.

    data, ledger   what to ask about; the ledger must have checked the pictures
    chooser        picks each picture's contrast; never an unseen verb
    keys           request keys of earlier calls
    """

    def __init__(
        self,
        data: DataSet,
        ledger: PictureLedger,
        engines: Engines,
        chooser: ContrastChooser,
        settings: TeacherSettings,
        paths: StorePaths,
        keys: RequestKeys,
        reporter: Reporter,
        producer: Mapping[str, Any],
        shard: Shard | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.data, self.ledger, self.engines = data, ledger, engines
        self.settings, self.paths, self.reporter = settings, paths, reporter
        self.shard, self._clock = shard or Shard(), clock
        self._producer = {"command": STAGE, **producer}
        check_language(settings.judge.language)
        self._held_out = frozenset(v for v, subset in data.subset_of.items() if subset == "unseen")
        identity = dict(engines.writer.identity())
        model_judge = self._model_judge(identity)
        deciders = [identity, _rules_identity(settings.judge, self._held_out)]
        deciders += [dict(model_judge.identity())] if model_judge else []
        self._maker = TaskMaker(data, ledger, chooser, settings, deciders, keys)
        self._terms = Terms(
            maker=self._maker,
            identity=identity,
            rules=self._judge_by_rules,
            judge=model_judge,
            judge_retries=settings.judge.retries,
            max_attempts=settings.max_attempts,
            imports=settings.imports,
        )

    def _model_judge(self, writer: Mapping[str, Any]) -> ModelJudge | None:
        settings = self.settings.judge
        if settings.by == "rules":
            return None
        engine = self.engines.judge
        return ModelJudge(settings, self.data.vocabulary, writer if engine is None else engine.identity())

    def plan(self, retry_failed: bool = False) -> GeneratePlan:
        """What a call would do; changes nothing but the file of known request keys."""
        wanted = set(in_shard(self._images(), self.shard.number, self.shard.count))
        try:
            return make_plan(
                [s for s in self.data.samples if s.split == "train" and s.image in wanted],
                [problem for problem in self.data.training_errors if problem.image in wanted],
                self.ledger,
                self._maker,
                self.paths,
                self.settings.max_attempts,
                retry_failed,
            )
        finally:
            self._maker.known.save()

    def _images(self) -> list[str]:
        training = [sample.image for sample in self.data.samples if sample.split == "train"]
        return [*training, *(problem.image for problem in self.data.training_errors)]

    def run(
        self, max_failure_rate: float, retry_failed: bool = False, budget_hours: float | None = None
    ) -> GenerateSummary:
        """Asks for whatever is missing; with `budget_hours`, begins no picture after that long.

        Raises FindingsError when more than `max_failure_rate` of the training pictures failed or have no
        accepted rationale; everything finished is kept whatever is raised.
        """
        deadline = None if budget_hours is None else self._clock() + budget_hours * 3600
        with self.shard.lock(self.paths, STAGE, self._maker.terms):
            remove_leftovers(self.paths, self.shard.tag or None)
            self._describe_data()
            plan = self.plan(retry_failed)
            plan.tell(self.reporter)
            copy_version(self.paths, plan.revive, self._producer, self.shard.tag)
            failures = new_failures(self.paths, plan.failures)
            append_quarantine(self.paths, failures, self._producer, self.shard.tag)
            with self._buffer() as buffer:
                talk = Talk(self.engines, self.settings, self.begin, buffer)
                seconds = self._hold(talk, plan, deadline) if plan.todo else 0.0
        summary = _summarise(plan, talk, buffer, seconds)
        names = {name: self._terms.identity[name] for name in ("teacher", "revision")}
        self.reporter.event("rationales-finished", **asdict(summary), **names, shard=self.shard.tag)
        self._tell_end(summary, budget_hours)
        if not self._images():  # a shard alone may well have none
            raise UserError(
                "the data set has no training picture, so there is nothing to write rationales for; "
                "see every problem with `mipd-pipe check-data`"
            )
        _check_failures(summary, plan.total, max_failure_rate, self.paths)
        return summary

    def _tell_end(self, summary: GenerateSummary, budget_hours: float | None) -> None:
        if summary.warning:
            self.reporter.say(f"{summary.warning}. See them: `mipd-pipe inspect rows --status rejected`")
        if summary.left:
            left = counted(summary.left, "picture")
            rate = summary.asked / summary.seconds if summary.seconds else 0.0
            hours = f", about {summary.left / rate / 3600:.2g} hours of the like" if rate else ""
            self.reporter.say(
                f"the budget of {budget_hours:g} hours is used up: {left} left to ask{hours}; what is "
                "finished is kept. Run the same command again to go on; `mipd-pipe plan` tells what it takes"
            )

    def _hold(self, talk: Talk, plan: GeneratePlan, deadline: float | None) -> float:
        """Asks for everything in the plan; returns the seconds it took with the engines loaded."""
        if deadline is not None and self._clock() >= deadline:  # no model is loaded for nothing
            return 0.0
        self._check_engines(plan)
        start = self._clock()
        self.reporter.event("asking-started", pictures=len(plan.todo), kept=plan.kept)
        fresh, done = self._until(deadline, plan.todo), plan.finished
        try:
            with self.reporter.progress(STAGE, done + len(plan.todo), done) as advance:
                talk.hold(fresh, advance)
        finally:
            self._maker.known.save()
        return self._clock() - start

    def _buffer(self) -> PartBuffer:
        settings = self.settings
        return PartBuffer(
            self.paths,
            self._producer,
            settings.pictures_per_part,
            settings.seconds_per_part,
            tag=self.shard.tag,
            clock=self._clock,
        )

    def _describe_data(self) -> None:
        held_out = tuple(sorted(self._held_out))
        with editing(self.paths) as cell:
            cell[0] = replace(cell[0], data_fingerprint=self.data.fingerprint, held_out_verbs=held_out)

    def _check_engines(self, plan: GeneratePlan) -> None:
        """Asks each language model a question whose answer shows whether it obeys schemas.

        About pictures that never failed, where there are any: one that is too large for the engine says
        nothing of the others, and where all are such, each is to fail for itself.
        """
        fresh = [sample for sample, prior in plan.todo if prior.attempt == 0]
        examples = (fresh or [sample for sample, _ in plan.todo])[:_TRIALS]
        requests = [next(iter(self._maker.requests(sample).values())) for sample in examples]
        if self.settings.asks_model:
            check_schema_is_obeyed(self.engines.writer, requests, "teacher", must_answer=bool(fresh))
        if self.engines.judge is not None and self.settings.judge.asks_model:
            check_schema_is_obeyed(self.engines.judge, requests, "judge", must_answer=bool(fresh))

    def _until(
        self, deadline: float | None, todo: Sequence[tuple[Sample, Prior]]
    ) -> Iterator[tuple[Sample, Prior]]:
        saved = self._clock()
        for some in batches(todo, AT_ONCE):
            self._maker.prepare(sample for sample, _ in some)
            for sample, prior in some:
                if deadline is not None and self._clock() >= deadline:
                    return
                yield sample, prior
            if self._clock() - saved >= _SECONDS_BETWEEN_SAVES:
                self._maker.known.save()
                saved = self._clock()

    def begin(self, sample: Sample, prior: Prior) -> Dialogue:
        return Dialogue(self._terms, sample, self._maker.request_key(sample), prior)

    def _judge_by_rules(self, kind: Kind, text: str, request: Request) -> Verdict:
        # Imported texts have wrong nouns of their own, which nobody published: none can be asked for. And no
        # schema bounded their length.
        settings, contrast, max_chars = self.settings, request.contrast, self.settings.max_chars
        if settings.imports:
            contrast, max_chars = replace(contrast, nouns={}), 0
        vocabulary = self.data.vocabulary
        return judge(
            kind, text, request.sample, contrast, vocabulary, self._held_out, settings.judge, max_chars
        )


def _summarise(plan: GeneratePlan, talk: Talk, buffer: PartBuffer, seconds: float) -> GenerateSummary:
    return GenerateSummary(
        asked=talk.begun,
        kept=plan.kept,
        revived=len(plan.revive),
        changed=plan.changed,
        failed=len(plan.failures) + plan.failed_before + buffer.failed,
        empty=plan.kept_empty + buffer.empty,
        left=len(plan.todo) - talk.begun,
        rationales_accepted=buffer.accepted,
        rationales_rejected=buffer.rejected,
        rejected_because=dict(buffer.reasons.most_common(_REASONS_TOLD)),
        requests=talk.requests,
        seconds=round(seconds, 3),
        tokens_in=talk.tokens_in,
        tokens_out=talk.tokens_out,
    )


def _rules_identity(settings: JudgeSettings, held_out: frozenset[str]) -> dict[str, Any]:
    """What decides the rules' verdict."""
    bounds = {"min_words": settings.min_words, "max_words": settings.max_words, "language": settings.language}
    return {"judge": "rules", "version": JUDGE_VERSION, **bounds, "held_out": sorted(held_out)}


def _latest_reason(paths: StorePaths) -> str:
    reasons = read_quarantine(paths)["reason"]
    return str(reasons[-1]) if len(reasons) else ""


def _check_failures(summary: GenerateSummary, total: int, bound: float, paths: StorePaths) -> None:
    useless = summary.failed + summary.empty
    if useless > bound * total:
        empty = f" and {summary.empty} have no accepted rationale" if summary.empty else ""
        reason = _latest_reason(paths)
        latest = f" The latest: {reason}." if reason else ""
        raise FindingsError(
            f"{summary.failed} of {total} training pictures failed{empty} ({useless / total:.1%}), more than "
            f"max_failure_rate {bound:.1%}; everything finished is kept.{latest} Reasons: "
            "`mipd-pipe inspect rows --status failed`, `mipd-pipe inspect summary`"
        )
