"""The figures and plots above the gallery, as HTML. Every value is escaped where it is put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline.report.facts import WARNING, Facts, KindFigures
from pipeline.report.plots import histogram, ranking, share
from pipeline.report.predictions import Predictions
from pipeline.report.student import said_how_many, student_table, worst_table
from stages.printable import printable
from stages.teacher.judging.shortcut import SUSPICIOUS

_NONE = "\N{EN DASH}"


def overview(title: str, facts: Facts, shown: str, predictions: Predictions) -> dict[str, str]:
    """What goes into the template's slots, by their names."""
    return {
        "title": escape(printable(title)),
        "facts": _pairs(facts),
        "tiles": _tiles(facts),
        "verdicts": _verdicts(facts),
        "plots": _plots(facts),
        "reasons": _reasons(facts),
        "banks": _banks(facts),
        "student": student_table(facts.metrics),
        "said": escape(said_how_many(predictions)),
        "worst": worst_table(predictions.worst),
        "shown": escape(shown),
    }


def _pairs(facts: Facts) -> str:
    pairs = "".join(
        f"<dt>{escape(name)}</dt><dd class={'loud' if name == WARNING else 'fact'}>{escape(value)}</dd>"
        for name, value in facts.pairs
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in facts.notes)
    return f"<dl>{pairs}</dl>" + (f'<ul class="notes">{notes}</ul>' if notes else "")


def _tiles(facts: Facts) -> str:
    accepted, wanted = sum(kind.accepted for kind in facts.kinds), len(facts.kinds) * facts.pictures
    rejected, failed = sum(facts.rejected.values()), sum(facts.failed.values())
    tiles = [
        ("pictures with rationales", f"{facts.pictures:,}", ""),
        ("rationales accepted", f"{accepted:,}", f"{_percent(accepted, wanted)} of {wanted:,} wanted"),
        ("attempts rejected", f"{rejected:,}", f"{_percent(rejected, sum(facts.attempts))} of all attempts"),
        ("pictures failed", f"{failed:,}", f"{_percent(failed, facts.pictures + failed)} of those asked"),
        _score_tile(facts),
        _token_tile(facts),
    ]
    return "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span>'
        f"<small>{escape(aside)}</small></div>"
        for name, value, aside in tiles
    )


def _score_tile(facts: Facts) -> tuple[str, str, str]:
    if not facts.scores:
        return "mean score of 5", _NONE, "only rules judged"
    return "mean score of 5", f"{sum(facts.scores) / len(facts.scores):.2f}", f"{len(facts.scores):,} judged"


def _token_tile(facts: Facts) -> tuple[str, str, str]:
    if not facts.tokens_in and not facts.tokens_out:
        return "tokens written", _NONE, "the engine counts none"
    return "tokens written", _short(sum(facts.tokens_out)), f"{_short(facts.tokens_in)} read"


def _short(count: int) -> str:
    for bound, unit in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= bound:
            return f"{count / (1000 if unit == 'k' else bound):.1f} {unit}"
    return f"{count:,}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else _NONE


def _verdicts(facts: Facts) -> str:
    return "".join(_verdict_row(kind) for kind in facts.kinds)


def _verdict_row(kind: KindFigures) -> str:
    words = sum(kind.words) / len(kind.words) if kind.words else 0.0
    score = _NONE if kind.mean_score is None else f"{kind.mean_score:.2f}"
    figures = (f"{kind.accepted:,}", f"{kind.rejected:,}", f"{kind.lacking:,}")
    bar = share({"accepted": kind.accepted, "rejected": kind.rejected})
    cells = "".join(
        f"<td>{escape(cell)}</td>" for cell in (*figures, f"{words:.1f}", score, str(kind.attempts))
    )
    return f'<tr><th scope="row">{escape(kind.name)}</th><td class="wide">{bar}</td>{cells}</tr>'


def _plots(facts: Facts) -> str:
    every = [count for kind in facts.kinds for count in kind.words]
    span = (min(every), max(every)) if every else None
    plots = [
        histogram(f"{kind.name.capitalize()}, words", kind.words, "words", span, kind.name.split()[0])
        for kind in facts.kinds
        if kind.words
    ]
    if facts.scores:
        plots.append(histogram("Scores", facts.scores, "points", (1, 5)))
    if facts.attempts:
        plots.append(
            histogram("Attempts a rationale", facts.attempts, "attempts", (1, max(3, *facts.attempts)))
        )
    if facts.tokens_out:
        plots.append(histogram("Tokens an answer", facts.tokens_out, "tokens"))
    return "".join(plots) or '<p class="quiet">No accepted rationale yet, so there is nothing to plot.</p>'


def _reasons(facts: Facts) -> str:
    blocks = [
        _block(
            "Rejected because", ranking(facts.rejected, "rejected"), facts.rejected, "Nothing was rejected."
        ),
        _block("Failed because", ranking(facts.failed, "failed"), facts.failed, "No picture failed."),
        f"<section><h3>Shortcut probe</h3>{_shortcut(facts.shortcut)}</section>",
    ]
    if facts.older_rows:
        blocks.append(
            f"<section><h3>Earlier versions</h3><p>{facts.older_rows:,} rows of earlier versions are kept "
            "in the store; this page shows the newest of each picture.</p></section>"
        )
    return "".join(blocks)


def _block(title: str, body: str, counts: Mapping[str, int], none: str) -> str:
    return f"<section><h3>{title}</h3>{body if counts else f'<p class=quiet>{none}</p>'}</section>"


def _shortcut(found: Mapping[str, float | None]) -> str:
    lines = []
    for aspect, auc in found.items():
        told = "too few texts of both sides to tell" if auc is None else f"AUC {auc:.2f}"
        loud = auc is not None and auc > SUSPICIOUS
        mark = f' <strong class="warn">above {SUSPICIOUS}</strong>' if loud else ""
        lines.append(f"<li><b>{escape(aspect)}</b> {told}{mark}</li>")
    return (
        f'<ul class="plain">{"".join(lines)}</ul><p class="quiet">How well words alone, without the '
        "picture, tell positive from negative; 0.5 = not at all. Negatives that their words give away teach "
        "little.</p>"
    )


def _banks(facts: Facts) -> str:
    if not facts.banks:
        return '<p class="quiet">No banks yet: make them with <code>mipd-pipe embed-teacher</code>.</p>'
    banks = [_flat(bank) for bank in facts.banks]
    names = list(dict.fromkeys(name for bank in banks for name in bank))
    rows = [[_cell(bank.get(name)) for name in names] for bank in banks]
    return _table([name.replace("_", " ") for name in names], rows)


def _flat(bank: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """What a bank reports within a name of its own, such as its fidelity, becomes figures side by side."""
    found: dict[str, Any] = {}
    for name, value in bank.items():
        found |= (
            _flat(value, f"{before}{name} ") if isinstance(value, Mapping) else {f"{before}{name}": value}
        )
    return found


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) else _NONE if value is None else printable(str(value))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(_table_row(row) for row in rows)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _table_row(row: Sequence[str]) -> str:
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
    return f'<tr><th scope="row">{escape(row[0])}</th>{cells}</tr>'
