"""What a benchmark promises of its figures, and how they are shown beside their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pipeline.table import render


class Target(NamedTuple):
    """`what` is compared with what."""

    sign: Literal[">=", "<=", "<"]
    bound: float
    what: str

    def met(self, value: float) -> bool:
        return {">=": value >= self.bound, "<=": value <= self.bound, "<": value < self.bound}[self.sign]


def judge(figures: Mapping[str, float | None], targets: Mapping[str, Target]) -> dict[str, dict[str, Any]]:
    """Each promised figure beside its bound; `met` is None where it could not be measured."""
    return {
        key: {
            "value": value,
            "target": f"{target.sign} {target.bound:g}",
            "met": None if value is None else target.met(value),
        }
        for key, target in targets.items()
        for value in (figures[key],)
    }


def promise_table(judged: Mapping[str, Mapping[str, Any]], targets: Mapping[str, Target]) -> str:
    """The table of `judge`'s answer."""
    rows = [
        [key, number(found["value"]), found["target"], _verdict(found["met"]), targets[key].what]
        for key, found in judged.items()
    ]
    return render(["figure", "value", "wanted", "", "what it is"], rows)


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.4f}" if 0.99 < value < 1 else f"{value:.2f}"


def _verdict(met: bool | None) -> str:
    return {True: "yes", False: "NO", None: "not measured"}[met]
