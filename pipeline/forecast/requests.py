"""How many requests are left to send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cache.kinds import KINDS
from pipeline.forecast.experience import Experience
from pipeline.forecast.spread import Spread, total
from stages.data.sample import Sample
from stages.teacher.asking.dialogue import Prior
from stages.teacher.settings import TeacherSettings

Todo = Sequence[tuple[Sample, Prior]]


@dataclass(frozen=True, slots=True)
class Work:
    """What is left for the teacher and the judge.

    pictures  to ask about
    writing   requests for rationales
    judging   requests for verdicts; 0 where the rules judge alone
    rows      rationale rows that will be written
    basis     what attempts were reckoned with
    """

    pictures: int
    writing: Spread
    judging: Spread
    rows: Spread
    basis: str

    @property
    def requests(self) -> Spread:
        return self.writing + self.judging


def forecast_work(todo: Todo, settings: TeacherSettings, experience: Experience | None) -> Work:
    """From the attempts that earlier pictures took, else from the fewest and the most that are allowed.

    The judging model is reckoned with one request per attempt; none is sent where the rules reject all texts.
    """
    if experience is None or not todo:
        attempts, writing, rows = _bounds(todo, settings)
        most = settings.max_attempts
        basis = "one attempt a picture" if most == 1 else f"assumed: 1 to {most} attempts a picture"
    else:
        count = len(todo)
        attempts, rows = experience.attempts * count, experience.rows * count
        writing = attempts if settings.requests == "together" else rows
        basis = experience.basis
    judging = Spread.exactly(0) if settings.judge.by == "rules" else attempts
    return Work(len(todo), writing, judging, rows, basis)


def _bounds(todo: Todo, settings: TeacherSettings) -> tuple[Spread, Spread, Spread]:
    """Attempts, requests and rows if every picture takes one attempt, and if every one takes all it may."""
    attempts, writing, rows = [], [], []
    for _, prior in todo:
        most = max(1, settings.max_attempts - prior.attempt)
        kinds = len(prior.kinds)
        likely = 1.0 if most == 1 else None
        attempts.append(Spread(1, likely, most))
        rows.append(attempts[-1] * kinds)
        writing.append(attempts[-1] if settings.requests == "together" else rows[-1])
    return total(attempts), total(writing), total(rows)


def at_most(pictures: int, begun: int, settings: TeacherSettings) -> Work:
    """Where nobody can say which pictures are finished: at most the `begun` ones that have any row."""
    kinds, most = len(KINDS), settings.max_attempts
    attempts = Spread(max(0, pictures - begun), None, pictures * most)
    writing = attempts if settings.requests == "together" else attempts * kinds
    judging = Spread.exactly(0) if settings.judge.by == "rules" else attempts
    return Work(pictures, writing, judging, attempts * kinds, "unknown which pictures are finished")
