"""What an evaluation leaves behind: files in the run folder, and what the command prints.

Beside metrics.json and predictions.parquet: metrics.md and metrics.tex (the same as tables, with the verbs
recognised worst), per_verb.csv (every figure of every verb) and confusion.csv (what each verb was ever taken
for). The files of the dev set end in ``-dev`` and lie beside those of the test set, which are the run's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cache.atomic import replacing, write_bytes
from pipeline.figures.metric_tables import as_latex, as_markdown, as_text, taken_for
from pipeline.result import Result
from pipeline.table import csv_text, render
from stages.data.sample import Split, Subset
from stages.student.measuring.evaluate import Evaluation
from stages.student.measuring.evaluation_settings import EvaluationSettings
from stages.student.measuring.intervals import intervals
from stages.student.measuring.metrics import summarise
from stages.student.measuring.per_verb import Confusion, confusions, per_verb

_SHOWN = ("top1_verb", "top1_value", "top1_grnd", "top5_verb", "gt_value", "gt_grnd")  # of each verb


@dataclass(frozen=True, slots=True)
class Telling:
    """Everything that is told of an evaluation.

    metrics    the content of metrics.json
    per_verb   one row a verb
    confusion  every verb that was missed, the worst first; the first `worst` of them are shown
    """

    metrics: dict[str, Any]
    per_verb: pl.DataFrame
    confusion: Sequence[Confusion]
    worst: int
    predictions: pl.DataFrame

    @property
    def shown(self) -> Sequence[Confusion]:
        return self.confusion[: self.worst or None]


def tell(
    evaluation: Evaluation,
    verbs: Sequence[str],
    subset_of: Sequence[Subset],
    split: Split,
    settings: EvaluationSettings,
) -> Telling:
    """Figures, intervals where there are draws, and the closer look at single verbs.

    verbs      names of the verb classes that were asked about
    subset_of  for each of them, what it was at training
    """
    results = evaluation.results
    metrics = summarise(results, subset_of, split)
    if settings.draws:
        metrics["intervals"] = intervals(results, subset_of, settings)
    return Telling(
        metrics,
        per_verb(results, verbs, subset_of),
        confusions(evaluation.predictions, dict(zip(verbs, subset_of, strict=True))),
        settings.worst_verbs,
        evaluation.predictions,
    )


def write_files(telling: Telling, run_dir: Path, asked: str = "") -> None:
    """Each appears whole; metrics.json comes last, so that where it is new the others are too.

    asked  name of the list of other verbs, where one was given; its files lie beside the run's
    """
    suffix = "" if telling.metrics["split"] == "test" else f"-{telling.metrics['split']}"
    suffix += f"-{asked}" if asked else ""
    with replacing(run_dir / f"predictions{suffix}.parquet") as temporary:
        telling.predictions.write_parquet(temporary)
    pairs = [
        [one.verb, one.subset, one.pictures, one.right, other, times]
        for one in telling.confusion
        for other, times in one.taken_for.items()
    ]
    head = ["verb", "subset", "pictures", "right", "taken_for", "times"]
    texts = {
        f"per_verb{suffix}.csv": csv_text(telling.per_verb.columns, telling.per_verb.iter_rows()),
        f"confusion{suffix}.csv": csv_text(head, pairs),
        f"metrics{suffix}.md": as_markdown(telling.metrics, telling.shown),
        f"metrics{suffix}.tex": as_latex(telling.metrics, telling.shown),
        f"metrics{suffix}.json": json.dumps(telling.metrics, indent=1),
    }
    for name, text in texts.items():
        write_bytes(run_dir / name, f"{text.rstrip()}\n".encode())


def show(telling: Telling, with_verbs: bool, with_confusion: bool) -> Result:
    """The table of figures, and what was asked for beside it."""
    parts, data = [as_text(telling.metrics)], dict(telling.metrics)
    if with_verbs:
        parts += ["", _verb_table(telling.per_verb)]
        data["per_verb"] = telling.per_verb.to_dicts()
    if with_confusion:
        parts += ["", _confusion_table(telling.shown)]
        data["confusion"] = [asdict(one) for one in telling.shown]
    return Result("\n".join(parts), data)


def _verb_table(frame: pl.DataFrame) -> str:
    shown = frame.select("verb", "subset", "pictures", *_SHOWN)
    head = [name.replace("_", " ") for name in shown.columns]
    return render(head, list(shown.iter_rows()))


def _confusion_table(worst: Sequence[Confusion]) -> str:
    if not worst:
        return "no picture was taken for another verb"
    rows = [[one.verb, one.subset, one.pictures, one.right, taken_for(one)] for one in worst]
    return render(["verb", "subset", "pictures", "right", "taken for"], rows)
