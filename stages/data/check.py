"""Counts what a data set has, per split and subset, and everything that is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stages.data.ledger import PictureLedger
from stages.data.problem import Problem
from stages.data.sample import SPLITS, SUBSETS, Split, Subset
from stages.data.swig import DataSet
from stages.printable import printable


@dataclass(frozen=True, slots=True)
class Count:
    """One row of the table.

    pictures   usable samples: annotation and picture are whole
    verbs      different verbs among them
    unusable   samples whose annotation is whole and whose picture is not
    """

    split: Split
    subset: Subset
    pictures: int
    verbs: int
    unusable: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """What `check-data` says.

    verbs      verbs of the vocabulary by subset, with or without pictures
    problems   of the annotations, then of the pictures
    usable     different pictures that can be used
    failed     different pictures that cannot, for whatever reason
    """

    counts: tuple[Count, ...]
    verbs: Mapping[Subset, int]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    split_source: str
    fingerprint: str
    usable: int
    failed: int

    @property
    def failure_rate(self) -> float:
        """Share of different pictures that cannot be used; 0 where there are none at all."""
        return self.failed / max(1, self.usable + self.failed)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"failure_rate": self.failure_rate}

    def to_text(self) -> str:
        """The counts as a table, then the notes, then every problem on one line."""
        verbs = ", ".join(f"{number} {subset}" for subset, number in self.verbs.items())
        lines = [
            f"data set {self.fingerprint}",
            f"verbs: {verbs}",
            f"split: {self.split_source}",
            "",
            *self._table(),
        ]
        lines += ["", *(f"note: {note}" for note in self.notes)] if self.notes else []
        lines += ["", *(_line(problem) for problem in self.problems)] if self.problems else []
        findings = Counter(problem.severity for problem in self.problems)
        lines += [
            "",
            f"{self.usable} pictures usable, {self.failed} not ({100 * self.failure_rate:.2f} %); "
            f"{findings['error']} errors, {findings['note']} notes",
        ]
        return printable("\n".join(lines))

    def _table(self) -> list[str]:
        head = ("split", "subset", "pictures", "verbs", "unusable")
        rows = [
            head,
            *((c.split, c.subset, str(c.pictures), str(c.verbs), str(c.unusable)) for c in self.counts),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        return [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]


def check_data(
    data_set: DataSet, ledger: PictureLedger, progress: Callable[[int], object] | None = None
) -> DataReport:
    """Reads every picture that the ledger does not know yet, and counts.

    `progress` is called with the number of pictures done since the last call; their total is
    ``len(data_set.annotated_sizes())``.
    """
    ledger.check(data_set.images_folder, data_set.annotated_sizes(), progress)
    of_pictures = picture_problems(data_set, ledger)
    broken = {problem.image for problem in of_pictures}
    whole = {sample.image for sample in data_set.samples} - broken
    refused = {problem.image for problem in data_set.problems if problem.severity == "error"}
    subsets = Counter(data_set.subset_of.values())
    return DataReport(
        counts=tuple(_count(data_set, split, subset, broken) for split in SPLITS for subset in SUBSETS),
        verbs={subset: subsets[subset] for subset in SUBSETS},
        problems=data_set.problems + of_pictures,
        notes=data_set.notes,
        split_source=data_set.split_source,
        fingerprint=data_set.fingerprint,
        usable=len(whole),
        failed=len((broken | refused) - whole),
    )


def picture_problems(data_set: DataSet, ledger: PictureLedger) -> tuple[Problem, ...]:
    """The pictures that cannot be used, as the last `ledger.check` of them found; each once."""
    reasons = ((image, ledger.problem(image)) for image in data_set.annotated_sizes())
    folder = data_set.images_folder.name
    return tuple(
        Problem(f"{folder}/{image}", image, reason, "error")
        for image, reason in reasons
        if reason is not None
    )


def _count(data_set: DataSet, split: Split, subset: Subset, broken: set[str]) -> Count:
    samples = [s for s in data_set.samples if s.split == split and data_set.subset_of[s.verb] == subset]
    usable = [sample for sample in samples if sample.image not in broken]
    verbs = {sample.verb for sample in usable}
    return Count(split, subset, len(usable), len(verbs), len(samples) - len(usable))


def _line(problem: Problem) -> str:
    return f"{problem.severity}: {problem.file}: {problem.image}: {problem.reason}"
