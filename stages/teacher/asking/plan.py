"""What one call of `generate-rationales` finds in the store and has left to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from cache.keys import fingerprint
from cache.kinds import KINDS, Kind
from cache.paths import StorePaths
from cache.rationales import QuarantineRow, read_quarantine, read_rationales
from stages.data.ledger import PictureLedger
from stages.data.problem import Problem
from stages.data.sample import Sample
from stages.plural import counted
from stages.reporter import Reporter
from stages.teacher.asking.dialogue import STAGE, Prior
from stages.teacher.asking.task import TaskMaker

_KIND = {(kind.aspect, kind.polarity): kind for kind in KINDS}
_VERSION = ["image", "request_key"]


@dataclass(slots=True)
class GeneratePlan:
    """Every training picture, sorted.

    todo           to ask the teacher about, with what earlier calls left of it
    changed        how many of those were finished before under another request key
    kept           finished under the wanted key
    kept_empty     how many of those have no accepted rationale
    revive         picture -> wanted key, finished earlier and since replaced: copied, not asked
    failed_before  in quarantine under the wanted key: not asked again unless that is wanted
    failures       unusable pictures and annotations, found without asking
    """

    todo: list[tuple[Sample, Prior]] = field(default_factory=list)
    changed: int = 0
    kept: int = 0
    kept_empty: int = 0
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
            f"{counted(self.total, 'training picture')}: {self.kept} finished before, {len(self.todo)} to ask"
            + (changed if self.changed else "")
        )
        if self.revive:
            back, go = counted(len(self.revive), "picture"), "goes" if len(self.revive) == 1 else "go"
            reporter.say(f"{back} {go} back to an earlier version in the store, unasked")
        if self.failures:
            reporter.say(f"{counted(len(self.failures), 'picture')} cannot be used: {_SHOW_FAILED}")
        if self.failed_before:
            reporter.say(
                f"{counted(self.failed_before, 'picture')} failed before, not asked again; see why: "
                f"{_SHOW_FAILED}; ask again: `mipd-pipe generate-rationales --retry-failed`"
            )


_SHOW_FAILED = "`mipd-pipe inspect rows --status failed`"


@dataclass(frozen=True, slots=True)
class _Version:
    """The rows of one picture under one request key: how often it was asked, and what was accepted."""

    asked: int
    accepted: int


def make_plan(
    samples: Sequence[Sample],
    entry_failures: Sequence[Problem],
    ledger: PictureLedger,
    maker: TaskMaker,
    paths: StorePaths,
    max_attempts: int,
    retry_failed: bool = False,
) -> GeneratePlan:
    """Compares what is wanted with what the store holds; changes nothing.

    samples         training samples
    entry_failures  training entries of the data set that cannot be used
    retry_failed    what is in quarantine is asked again, pictures and single rationales
    """
    rows = read_rationales(paths, [*_VERSION, "aspect", "polarity", "attempt", "status"])
    newest = dict(rows.filter("current").select(_VERSION).iter_rows())
    versions = _versions(rows)
    failed = _failed(paths)
    plan = GeneratePlan(failures=[data_failure(problem.image, problem.reason) for problem in entry_failures])
    bad = [(s.image, reason) for s in samples if (reason := ledger.problem(s.image))]
    plan.failures += [data_failure(image, reason) for image, reason in bad]
    bad_images = {image for image, _ in bad}
    # A request key takes up to a millisecond, so it is made only where the store has something to compare.
    begun = {*newest, *(image for image, _ in failed)}
    old = [sample for sample in samples if sample.image in begun and sample.image not in bad_images]
    key_of = dict(zip((sample.image for sample in old), maker.request_keys(old), strict=True))
    unfinished: list[tuple[Sample, str]] = []
    for sample in samples:
        image, key = sample.image, key_of.get(sample.image, "")
        if image in bad_images:
            continue
        version, tried = versions.get((image, key)), failed.get((image, key), 0)
        lost = tried > 0 and (version is None or tried >= version.asked)  # no later attempt was judged
        gave_up = lost and not retry_failed
        if version is not None and _is_finished(version, max_attempts, lost, retry_failed):
            if newest[image] != key:
                plan.revive[image] = key
            else:
                plan.kept += 1
                plan.kept_empty += version.accepted == 0
        elif gave_up:
            plan.failed_before += 1
        else:
            plan.changed += newest.get(image, key) != key
            unfinished.append((sample, key))
    plan.todo = _with_priors(unfinished, versions, failed, paths)
    return plan


def _is_finished(version: _Version, max_attempts: int, lost: bool, retry_failed: bool) -> bool:
    """Has all kinds, lost one for good, or was asked as often as is allowed now.

    So a bound that was raised asks for what is still rejected, of the newest version or of an earlier one;
    and what was lost at the last attempt allowed can be asked for again all the same.
    """
    if version.accepted == len(KINDS):
        return True
    return not retry_failed if lost else version.asked >= max_attempts


def _versions(rows: pl.DataFrame) -> dict[tuple[str, str], _Version]:
    kinds = pl.struct("aspect", "polarity").filter(pl.col("status") == "accepted").n_unique()
    counts = rows.group_by(_VERSION).agg(asked=pl.col("attempt").max() + 1, accepted=kinds)
    return {(image, key): _Version(asked, accepted) for image, key, asked, accepted in counts.iter_rows()}


def _failed(paths: StorePaths) -> dict[tuple[str, str], int]:
    """Image and request key of what the teacher failed at last -> how often it was tried."""
    rows = read_quarantine(paths).filter(pl.col("stage") == STAGE)
    return {(image, key): tried for image, key, tried in rows.select(*_VERSION, "attempts").iter_rows()}


def _with_priors(
    unfinished: Sequence[tuple[Sample, str]],
    versions: dict[tuple[str, str], _Version],
    failed: dict[tuple[str, str], int],
    paths: StorePaths,
) -> list[tuple[Sample, Prior]]:
    """Adds what earlier calls left of each picture, so that no accepted rationale is asked for again."""
    begun = {(sample.image, key) for sample, key in unfinished} & versions.keys()
    last = _last_rows(paths, begun) if begun else {}
    todo = []
    for sample, key in unfinished:
        version, tried = versions.get((sample.image, key)), failed.get((sample.image, key), 0)
        if version is None:
            todo.append((sample, Prior(tried)))
            continue
        rows = last[sample.image, key]
        kinds = tuple(kind for kind in KINDS if rows[kind][0] != "accepted")
        reasons = {kind: rows[kind][1] for kind in kinds if rows[kind][2]}
        todo.append((sample, Prior(max(version.asked, tried), kinds, reasons)))
    return todo


def _last_rows(
    paths: StorePaths, wanted: set[tuple[str, str]]
) -> dict[tuple[str, str], dict[Kind, tuple[str, str, str]]]:
    """Version -> kind -> status, reason and text: of the accepted row, else of the last attempt."""
    columns = [*_VERSION, "aspect", "polarity", "attempt", "status", "reason", "text"]
    keys = pl.DataFrame(sorted(wanted), schema=_VERSION, orient="row")
    rows = read_rationales(paths, columns).join(keys, on=_VERSION, how="semi", maintain_order="left")
    rows = rows.sort(pl.col("status") == "accepted", "attempt", maintain_order=True)
    found: dict[tuple[str, str], dict[Kind, tuple[str, str, str]]] = {key: {} for key in wanted}
    for image, key, aspect, polarity, _, status, reason, text in rows.select(columns).iter_rows():
        found[image, key][_KIND[aspect, polarity]] = (status, reason, text)
    return found


def new_failures(paths: StorePaths, failures: list[QuarantineRow]) -> list[QuarantineRow]:
    """Those not in quarantine yet, so that a call repeated over the same bad pictures adds no rows."""
    known = set(read_quarantine(paths).select(_VERSION).iter_rows())
    return [row for row in failures if (row.image, row.request_key) not in known]


def data_failure(image: str, reason: str) -> QuarantineRow:
    """The record of a picture or annotation that cannot be used."""
    return QuarantineRow(image, "data", reason, 0, "", fingerprint([image, reason]))
