"""The student's figures above its predictions, as HTML. Every value is escaped where it is put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

from pipeline.figures.metric_tables import COLUMNS, TITLES, half, level, rows, taken_for
from pipeline.report.predictions import Predictions
from stages.printable import printable
from stages.student.measuring.per_verb import Confusion

_NONE = "\N{EN DASH}"


def student_table(metrics: Mapping[str, Any] | None) -> str:
    """All figures of the student, with half their intervals; a sentence where there are none yet."""
    if metrics is None:
        return '<p class="quiet">No figures yet: make them with <code>mipd-pipe evaluate</code>.</p>'
    told = level(metrics)
    heads = "".join(_head(name.replace("_", "-")) for name in ("", "pictures", *COLUMNS))
    body = "".join(_setting(metrics, setting, title) for setting, title in TITLES.items())
    split = escape(printable(metrics["split"]).capitalize())
    spread = f"; ± half of the {escape(told)} interval" if told else ""
    return (
        f'<div class="scroll"><table class="metrics"><thead><tr>{heads}</tr></thead>{body}</table></div>'
        f'<p class="quiet">{split} set, in percent, averaged per verb and then over verbs{spread}. '
        "The harmonic mean is of seen and unseen.</p>"
    )


def _head(name: str) -> str:
    return f'<th scope="col">{escape(name)}</th>'


def _setting(metrics: Mapping[str, Any], setting: str, title: str) -> str:
    lines = []
    for name, pictures, _, figures, ends in rows(metrics, setting):
        cells = "".join(f"<td>{_figure(*pair)}</td>" for pair in zip(figures, ends, strict=True))
        count = "" if pictures is None else f"{pictures:,}"
        lines.append(f'<tr><th scope="row">{escape(printable(name))}</th><td>{count}</td>{cells}</tr>')
    head = f'<tr><th colspan="{2 + len(COLUMNS)}" scope="rowgroup">{escape(title)}</th></tr>'
    return f"<tbody>{head}{''.join(lines)}</tbody>"


def _figure(figure: float | None, ends: Sequence[float] | None) -> str:
    if figure is None:
        return _NONE
    return f"{figure:.2f}" + (f" <small>±{half(ends):.1f}</small>" if ends else "")


def said_how_many(predictions: Predictions) -> str:
    """How many of the run's predictions the page holds, and which."""
    shown, total = len(predictions.said), predictions.total
    if shown == total:
        return f"all {total:,} predictions" if total else ""
    return (
        f"{shown:,} of {total:,} predictions, spread over the verbs; the same ones every time; "
        "more with --predictions"
    )


def worst_table(worst: Sequence[Confusion]) -> str:
    """Verbs recognised worst; each leads to those of its pictures that were taken for another."""
    if not worst:
        return '<p class="quiet">No picture was taken for another verb.</p>'
    heads = "".join(map(_head, ("verb", "taken for")))
    body = "".join(map(_worst_row, worst))
    return (
        f'<div class="scroll"><table class="worst"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _worst_row(one: Confusion) -> str:
    verb = printable(one.verb)
    there = escape("#" + urlencode({"view": "predictions", "result": "wrong", "verb": verb}))
    return (
        f'<tr><th scope="row"><a href="{there}">{escape(verb)}</a>'
        f"<small>{escape(one.subset)}, {one.right} of {one.pictures} right</small></th>"
        f"<td>{escape(printable(taken_for(one)))}</td></tr>"
    )
