"""The figures as tables: for the terminal, as Markdown, as LaTeX; and runs side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cache.errors import UserError
from pipeline.figures.compare import compare
from pipeline.figures.metric_tables import (
    as_latex,
    as_markdown,
    as_text,
    latex_text,
    markdown_text,
    taken_for,
)
from stages.student.measuring.metrics import SETTINGS
from stages.student.measuring.per_verb import Confusion

NASTY = "a_b|c&d%e#f$g{h}i~j^k\\l<b>\x1b[1m*m*`n`"
WORST = [Confusion(NASTY, "unseen", 4, 1, {"riding": 2, NASTY: 1})]


def figures(value: float | None) -> dict[str, dict[str, float | None]]:
    return {setting: dict.fromkeys(names, value) for setting, names in SETTINGS.items()}


def metrics(with_intervals: bool = True) -> dict[str, Any]:
    """Figures of 40.28 everywhere but for the rare verbs, of which there is no picture."""
    subsets = {
        name: {"samples": n, "verbs": v, **figures(40.28 if n else None)}
        for name, n, v in (("all", 25200, 504), ("seen", 210, 35), ("rare", 0, 0), ("unseen", 1, 1))
    }
    found: dict[str, Any] = {"split": "test", "subsets": subsets, "harmonic_mean": figures(38.0)}
    if with_intervals:

        def ends(pair: list[float] | None) -> dict[str, dict[str, list[float] | None]]:
            return {setting: dict.fromkeys(names, pair) for setting, names in SETTINGS.items()}

        known = {"all": [35.0, 46.0], "seen": [30.0, 52.0], "rare": None, "unseen": None}
        found["intervals"] = {
            "draws": 1000, "level": 0.95, "seed": 0,
            "subsets": {name: ends(pair) for name, pair in known.items()},
            "harmonic_mean": ends([20.0, 45.0]),
        }  # fmt: skip
    return found


def lines_of(table: str, name: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if line.startswith(f"  {name}")]


def test_the_terminals_table_holds_every_figure_with_half_its_interval() -> None:
    table = as_text(metrics())
    assert max(map(len, table.splitlines())) <= 100
    assert "± half of the 95 % interval" in table.splitlines()[0]
    assert lines_of(table, "all")[0] == ["all", "25200", "504", *["40.28", "±5.5"] * 5]
    assert lines_of(table, "seen")[0] == ["seen", "210", "35", *["40.28", "±11.0"] * 5]
    assert lines_of(table, "seen")[2] == ["seen", "210", "35", "-", *["40.28", "±11.0"] * 4]  # given verb
    assert lines_of(table, "rare")[0] == ["rare", "0", "0", *"-----"]
    assert lines_of(table, "unseen")[0] == ["unseen", "1", "1", *["40.28"] * 5], "one picture, no interval"
    assert lines_of(table, "harmonic mean")[0][2:] == ["38.00", "±12.5"] * 5
    points = {line.index("40.28") for line in table.splitlines() if "40.28" in line and " - " not in line}
    assert len(points) == 1, "figures stand below one another, whatever their interval"


def test_without_intervals_the_table_is_narrower() -> None:
    table = as_text(metrics(with_intervals=False))
    assert max(map(len, table.splitlines())) <= 79
    assert "±" not in table
    assert lines_of(table, "all")[0] == ["all", "25200", "504", *["40.28"] * 5]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_row_of_the_markdown_has_as_many_cells_as_its_head() -> None:
    text = as_markdown(metrics(), WORST)
    first, second = (
        [cells(x) for x in part.splitlines() if x.startswith("|")] for part in text.split("worst")
    )
    assert {len(row) for row in first} == {9}
    assert {len(row) for row in second} == {5}
    assert first[2] == ["top-1 verb", "all", "25200", "504", *["40.28 [35.0, 46.0]"] * 5]
    assert second[2][1:4] == ["unseen", "4", "1"]
    assert "the 95 % interval of 1000 bootstrap draws" in text


def test_what_a_name_holds_is_no_markup() -> None:
    assert markdown_text("a_b|c<d>*e*`f`[g](h)") == r"a\_b\|c\<d\>\*e\*\`f\`\[g\]\(h\)"
    assert markdown_text("a\nb\x1b") == r"a b\\x1b"
    assert latex_text(r"50 % & a_b {c} #d $e ~f ^g \h") == (
        r"50 \% \& a\_b \{c\} \#d \$e \textasciitilde{}f \textasciicircum{}g \textbackslash{}h"
    )


def test_latex_holds_whole_rows_and_no_letter_that_acts() -> None:
    text = as_latex(metrics(), WORST)
    assert "\x1b" not in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows[:-2]} == {7}
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows[-2:]} == {4}
    assert r"all & 25200 & 504 & $40.28 \pm 5.5$" in text
    assert r"& value-all &" in text
    name = rows[-1].split(" & ")[0]
    bare = re.sub(r"\\([&%$#_{}]|text\w+\{\})", "", name)
    assert not set(bare) & set("&%$#_{}~^\\<>|"), bare


def test_verbs_that_one_is_taken_for_are_named_as_far_as_a_line_goes() -> None:
    many = {f"walking-past-number-{i}": 9 - i for i in range(5)}
    assert taken_for(Confusion("a", "seen", 9, 0, {"riding": 2, "waving": 1})) == "riding 2, waving 1"
    told = taken_for(Confusion("a", "seen", 9, 0, many))
    assert told == "walking-past-number-0 9, walking-past-number-1 8 and 3 others"


def write_run(folder: Path, value: float, **settings: Any) -> Path:
    folder.mkdir()
    config = {"run_dir": str(folder), "train": {"seed": value, "epochs": 3}, **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    told = metrics()
    told["subsets"]["all"].update(figures(value))
    (folder / "metrics.json").write_text(json.dumps(told))
    return folder


def test_runs_side_by_side_fit_a_terminal_whatever_their_settings_are_called(tmp_path: Path) -> None:
    student = {f"a_switch_with_a_long_name_{i}": i for i in range(9)}
    runs = [
        write_run(tmp_path / "a", 30.0),
        write_run(tmp_path / "b", 40.0),
        write_run(tmp_path / "c", 100.0, student=student, evaluate={"draws": 5}),
    ]
    found = compare(runs, ["top1.verb", "gt.value_all", "top5.grnd"])
    lines = found.text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == " 1  reference (2 runs)"
    assert lines[1].startswith(" 2  student: None -> {'a_switch_with")
    head = next(line for line in lines if line.split() == ["all", "seen", "rare", "unseen", "h-mean"])
    block = lines[lines.index("gt.value_all") :]
    same = ["40.3", "±", "0.0"]
    assert block[1].split() == ["1", "35.0", "±", "63.5", *same, "-", *same, "38.0", "±", "0.0"]
    assert block[2].split()[:3] == ["2", "100.0", "40.3"]
    assert len(head) == len(block[1])
    by_hand = {"mean": 35, "deviation": 50**0.5, "half_interval": 12.706 * 5}
    assert found.data[0]["figures"]["top1.verb"]["all"] == pytest.approx(by_hand)


def test_an_unknown_figure_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--figures 'verb' is not one of top1\.verb, top1\.value, "):
        compare([write_run(tmp_path / "a", 1.0)], ["verb"])
