"""The metrics of a run as a table: for the terminal, as Markdown, and as LaTeX.

All three take the content of `metrics.json` and, where they show it, what verbs are taken for. With
intervals, ± is half the width of the interval; both its ends are in `metrics.json` and in the Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stages.printable import printable
from stages.student.measuring.metrics import SETTINGS
from stages.student.measuring.per_verb import Confusion

TITLES = {"top1": "top-1 verb", "top5": "top-5 verbs", "gt": "given verb"}
COLUMNS = SETTINGS["top1"]  # of every table; the given verb has no figure under `verb`
_NAMED = 52  # characters of the verbs that one is taken for, beyond which the others are counted

Row = tuple[str, int | None, int | None, list[float | None], list[Sequence[float] | None]]


def rows(metrics: Mapping[str, Any], setting: str) -> Iterator[Row]:
    """Name, pictures, verbs, figures and intervals of each subset, and of the harmonic mean."""
    told = metrics.get("intervals") or {}
    of_subsets, of_mean = told.get("subsets", {}), told.get("harmonic_mean", {})
    for subset, figures in metrics["subsets"].items():
        own, ends = figures[setting], of_subsets.get(subset, {}).get(setting, {})
        yield subset, figures["samples"], figures["verbs"], *_columns(own, ends)
    mean, ends = metrics["harmonic_mean"][setting], of_mean.get(setting, {})
    yield "harmonic mean", None, None, *_columns(mean, ends)


def _columns(
    figures: Mapping[str, float | None], ends: Mapping[str, Sequence[float] | None]
) -> tuple[list[float | None], list[Sequence[float] | None]]:
    return [figures.get(name) for name in COLUMNS], [ends.get(name) for name in COLUMNS]


def half(ends: Sequence[float]) -> float:
    """What stands behind ±."""
    return (ends[1] - ends[0]) / 2


def level(metrics: Mapping[str, Any]) -> str:
    """The level of the intervals, e.g. ``95 %``; "" without intervals."""
    told = metrics.get("intervals")
    return f"{100 * told['level']:g} %" if told else ""


def _measured(metrics: Mapping[str, Any]) -> str:
    """The pictures that the figures are of, and among which verbs where those are not the student's own."""
    among = f" among the verbs of {metrics['verb_list']}" if "verb_list" in metrics else ""
    return f"{metrics['split']} set{among}"


def as_text(metrics: Mapping[str, Any]) -> str:
    """For a terminal: 94 columns, or 79 without intervals. The harmonic mean is of seen and unseen."""
    wide = 13 if level(metrics) else 10
    lines = [
        f"{printable(_measured(metrics))}, in percent, averaged per verb and then over verbs"
        + (f"; ± half of the {level(metrics)} interval" if level(metrics) else ""),
        f"{'':<14}{'pictures':>9}{'verbs':>6}" + "".join(f"{name:>{wide}}" for name in COLUMNS),
    ]
    for setting, title in TITLES.items():
        lines.append(title)
        for name, pictures, verbs, figures, ends in rows(metrics, setting):
            cells = "".join(_text_cell(*pair, wide) for pair in zip(figures, ends, strict=True))
            lines.append(f"  {name:<13}{_count(pictures):>8}{_count(verbs):>6}{cells}".rstrip())
    return "\n".join(lines)


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


def _text_cell(figure: float | None, ends: Sequence[float] | None, wide: int) -> str:
    if figure is None:
        return f"{'-':>{wide}}"
    spread = f" ±{half(ends):<4.1f}" if ends else " " * 6 if wide > 10 else ""
    return f"{figure:>{wide - len(spread)}.2f}{spread}"


def as_markdown(metrics: Mapping[str, Any], worst: Sequence[Confusion]) -> str:
    """Headed tables, for a README or an issue; intervals in full."""
    lines = [f"## Figures on the {markdown_text(_measured(metrics))}", ""]
    lines += [f"In percent, averaged per verb and then over verbs{_in_brackets(metrics)}.", ""]
    head = ["", "subset", "pictures", "verbs", *COLUMNS]
    lines += ["| " + " | ".join(map(markdown_text, head)) + " |", "|---|---|" + "--:|" * (len(head) - 2)]
    for setting, title in TITLES.items():
        for name, pictures, verbs, figures, ends in rows(metrics, setting):
            cells = [_markdown_cell(*pair) for pair in zip(figures, ends, strict=True)]
            lines.append("| " + " | ".join([title, name, _count(pictures), _count(verbs), *cells]) + " |")
    if worst:
        lines += ["", "## Verbs recognised worst", ""]
        lines += ["| verb | subset | pictures | right | taken for |", "|---|---|--:|--:|---|"]
        for one in worst:
            cells = [one.verb, one.subset, str(one.pictures), str(one.right), taken_for(one)]
            lines.append("| " + " | ".join(map(markdown_text, cells)) + " |")
    return "\n".join(lines) + "\n"


def _in_brackets(metrics: Mapping[str, Any]) -> str:
    told = metrics.get("intervals")
    return f"; in brackets the {level(metrics)} interval of {told['draws']} bootstrap draws" if told else ""


def _markdown_cell(figure: float | None, ends: Sequence[float] | None) -> str:
    if figure is None:
        return "\N{EN DASH}"
    return f"{figure:.2f}" + (f" [{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "")


_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$-])")


def markdown_text(text: str) -> str:
    """A text that stays the text it is within a cell of a Markdown table."""
    return _MARKDOWN.sub(r"\\\1", printable(text).replace("\n", " "))


def as_latex(metrics: Mapping[str, Any], worst: Sequence[Confusion]) -> str:
    r"""Two ``tabular``s for a paper, to be read with ``\input``; no package is needed."""
    lines = [f"% {latex_text(_measured(metrics))}, in percent, averaged per verb and then over verbs"]
    if level(metrics):
        lines.append(f"% +- half of the {level(metrics)} interval")
    lines += [r"\begin{tabular}{l" + "r" * (2 + len(COLUMNS)) + "}", r"\hline"]
    lines += [_latex_row(["", "pictures", "verbs", *(name.replace("_", "-") for name in COLUMNS)])]
    for setting, title in TITLES.items():
        lines += [r"\hline", rf"\multicolumn{{{3 + len(COLUMNS)}}}{{l}}{{{latex_text(title)}}} \\"]
        for name, pictures, verbs, figures, ends in rows(metrics, setting):
            cells = [_latex_cell(*pair) for pair in zip(figures, ends, strict=True)]
            lines.append(" & ".join([latex_text(name), _count(pictures), _count(verbs), *cells]) + r" \\")
    lines += [r"\hline", r"\end{tabular}"]
    if worst:
        lines += ["", "% verbs recognised worst", r"\begin{tabular}{llrrl}", r"\hline"]
        lines += [_latex_row(["verb", "subset", "pictures", "right", "taken for"]), r"\hline"]
        lines += [
            _latex_row([one.verb, one.subset, str(one.pictures), str(one.right), taken_for(one)])
            for one in worst
        ]
        lines += [r"\hline", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def _latex_cell(figure: float | None, ends: Sequence[float] | None) -> str:
    if figure is None:
        return "--"
    return rf"${figure:.2f} \pm {half(ends):.1f}$" if ends else f"{figure:.2f}"


_LATEX: dict[str, str | int | None] = {
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def latex_text(text: str) -> str:
    """A text with every character that LaTeX would act on spelled out."""
    return printable(text).replace("\n", " ").translate(str.maketrans(_LATEX))


def taken_for(one: Confusion) -> str:
    """E.g. ``riding 3, leaping 1 and 2 others``: the most frequent first, as far as a line takes them."""
    named: list[str] = []
    for verb, times in one.taken_for.items():
        if named and len(", ".join([*named, verb])) > _NAMED:
            break
        named.append(f"{verb} {times}")
    rest = len(one.taken_for) - len(named)
    more = f" and {rest} other{'s' * (rest > 1)}" if rest else ""
    return ", ".join(named) + more
