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
    rows = read_rationales(paths, ["image", "request_key", "attempt"])
    newest = dict(rows.filter("current").select("image", "request_key").iter_rows())
    unfinished = _unfinished(rows, max_attempts)
    earlier = set(rows.select("image", "request_key").unique().iter_rows())
    failed = set(read_quarantine(paths).select("image", "request_key").iter_rows())
    plan = GeneratePlan(failures=_entry_failures(data))
    for sample in data.samples:
        if sample.split != "train":
            continue
        image, problem = sample.image, ledger.problem(sample.image)
        if problem:
            plan.failures.append(_data_failure(image, problem))
            continue
        key = maker.first(sample).request_key
        if newest.get(image) == key and image not in unfinished:
            plan.kept += 1
        elif (image, key) in earlier and image not in unfinished:
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


def _unfinished(rows: pl.DataFrame, max_attempts: int) -> set[str]:
    """Pictures with a rejected kind that were asked less often than is allowed now: the bound was raised."""
    current = rows.filter("current").group_by("image")
    counts = current.agg(pl.col("usable").sum(), asked=pl.col("attempt").max() + 1)
    short = (pl.col("usable") < len(KINDS)) & (pl.col("asked") < max_attempts)
    return set(counts.filter(short)["image"])


def _entry_failures(data: DataSet) -> list[QuarantineRow]:
    return [_data_failure(problem.image, problem.reason) for problem in data.training_errors]


def _data_failure(image: str, reason: str) -> QuarantineRow:
    return QuarantineRow(image, "data", reason, 0, "", fingerprint([image, reason]))
