"""What one call of `generate-rationales` finds in the store and has left to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from cache.keys import fingerprint
from cache.kinds import KINDS
from cache.paths import StorePaths
from cache.rationales import QuarantineRow, read_quarantine, read_rationales
from stages.data.ledger import PictureLedger
from stages.data.sample import Sample
from stages.data.swig import DataSet
from stages.reporter import Reporter
from stages.teacher.task import TaskMaker


@dataclass(slots=True)
class GeneratePlan:
    """Every training picture, sorted.

    todo           to ask the teacher about
    changed        how many of those were finished before under another request key
    kept           finished under the wanted key
    revive         picture -> wanted key, finished earlier and since replaced: copied, not asked
    failed_before  in quarantine under the wanted key: not asked again
    failures       unusable pictures and annotations, found without asking
    """

    todo: list[Sample] = field(default_factory=list)
    changed: int = 0
    kept: int = 0
    revive: dict[str, str] = field(default_factory=dict)
    failed_before: int = 0
    failures: list[QuarantineRow] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Training entries of the data set, unusable ones included."""
        return self.finished + len(self.todo) + len(self.failures)

    @property
    def finished(self) -> int:
        return self.kept + len(self.revive) + self.failed_before

    def tell(self, reporter: Reporter) -> None:
        changed = f", {self.changed} of them changed since (prompt, model, picture, annotation)"
        reporter.say(
            f"{self.total} training pictures: {self.kept} finished before, {len(self.todo)} to ask"
            + (changed if self.changed else "")
        )
        if self.revive:
            reporter.say(f"{len(self.revive)} pictures go back to an earlier version in the store, unasked")
        failed = self.failed_before + len(self.failures)
        if failed:
            reporter.say(f"{failed} pictures cannot be used: `mipd-pipe inspect rows --status failed`")


def make_plan(
    data: DataSet, ledger: PictureLedger, maker: TaskMaker, paths: StorePaths, max_attempts: int
) -> GeneratePlan:
    """Compares what is wanted with what the store holds; changes nothing."""
    rows = read_rationales(paths, ["image", "request_key", "aspect", "polarity", "attempt", "status"])
    newest = dict(rows.filter("current").select("image", "request_key").iter_rows())
    finished = _finished(rows, max_attempts)
    failed = set(read_quarantine(paths).select("image", "request_key").iter_rows())
    plan = GeneratePlan(failures=_entry_failures(data))
    for sample in data.samples:
        if sample.split != "train":
            continue
        image, problem = sample.image, ledger.problem(sample.image)
        if problem:
            plan.failures.append(data_failure(image, problem))
            continue
        key = maker.first(sample).request_key
        if (image, key) in finished and newest[image] == key:
            plan.kept += 1
        elif (image, key) in finished:
            plan.revive[image] = key
        elif (image, key) in failed:
            plan.failed_before += 1
        else:
            plan.changed += newest.get(image, key) != key
            plan.todo.append(sample)
    return plan


def new_failures(paths: StorePaths, failures: list[QuarantineRow]) -> list[QuarantineRow]:
    """Those not in quarantine yet, so that a call repeated over the same bad pictures adds no rows."""
    known = set(read_quarantine(paths).select("image", "request_key").iter_rows())
    return [row for row in failures if (row.image, row.request_key) not in known]


def _finished(rows: pl.DataFrame, max_attempts: int) -> set[tuple[str, str]]:
    """Image and request key of every version that has all kinds, or was asked as often as is allowed now.

    So a bound that was raised asks for what is still rejected, of the newest version or of an earlier one.
    """
    kinds = pl.struct("aspect", "polarity").filter(pl.col("status") == "accepted").n_unique()
    counts = rows.group_by("image", "request_key").agg(kinds=kinds, asked=pl.col("attempt").max() + 1)
    finished = counts.filter((pl.col("kinds") == len(KINDS)) | (pl.col("asked") >= max_attempts))
    return set(finished.select("image", "request_key").iter_rows())


def _entry_failures(data: DataSet) -> list[QuarantineRow]:
    return [data_failure(problem.image, problem.reason) for problem in data.training_errors]


def data_failure(image: str, reason: str) -> QuarantineRow:
    """The record of a picture or annotation that cannot be used."""
    return QuarantineRow(image, "data", reason, 0, "", fingerprint([image, reason]))
