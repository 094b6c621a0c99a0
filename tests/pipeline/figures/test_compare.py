"""Runs side by side: means, and differences seed by seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.figures.compare import compare


def run(folder: Path, verb: float, seed: int, **student: Any) -> Path:
    """An evaluated run of which every figure is `verb`."""
    folder.mkdir()
    settings = {"run_dir": str(folder), "student": student, "train": {"seed": seed}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    figures = {
        name: dict.fromkeys(("verb", "value", "value_all", "grnd", "grnd_all"), verb)
        for name in ("top1", "top5", "gt")
    }
    subsets = dict.fromkeys(("all", "seen", "rare", "unseen"), figures)
    document = {"split": "test", "subsets": subsets, "harmonic_mean": figures}
    (folder / "metrics.json").write_text(json.dumps(document))
    return folder


def test_differences_are_taken_seed_by_seed(tmp_path: Path) -> None:
    # Differences -1, -3 and -2 between groups that overlap: mean -2, error 1 / sqrt(3), t = 4.303.
    full = [run(tmp_path / f"a{i}", verb, i) for i, verb in enumerate((10.0, 20.0, 30.0))]
    less = [run(tmp_path / f"b{i}", verb, i, distill=False) for i, verb in enumerate((9.0, 17.0, 28.0))]
    result = compare([*full, *reversed(less)], ["top1.verb", "gt.grnd"])
    reference, other = result.data
    by_hand = {"mean": 20, "deviation": 10, "half_interval": 4.303 * 10 / 3**0.5}
    assert reference["figures"]["top1.verb"]["unseen"] == pytest.approx(by_hand)
    assert set(reference["differences"]["top1.verb"].values()) == {None}
    assert other["settings"] == "student.distill: None -> False"
    by_hand = {"mean": -2, "deviation": 1, "half_interval": 4.303 / 3**0.5}
    assert other["differences"]["gt.grnd"]["h-mean"] == pytest.approx(by_hand)
    lines = [line.split() for line in result.text.splitlines()]
    assert lines.count(["2-1", *["-2.0", "±", "2.5"] * 5]) == 2


def test_other_seeds_have_no_difference(tmp_path: Path) -> None:
    runs = [run(tmp_path / "a", 10, 0), run(tmp_path / "b", 10, 1), run(tmp_path / "c", 9, 2, distill=False)]
    result = compare(runs)
    assert [group["runs"] for group in result.data] == [2, 1]
    assert set(result.data[1]["differences"]["top1.verb"].values()) == {None}
    assert "2-1 " not in result.text


def test_a_share_of_the_open_head_is_a_difference_and_what_is_told_beside_is_none(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, 10, seed) for seed, name in enumerate("abc")]
    for folder, told in zip(runs, ({"draws": 9}, {"draws": 0}, {"open_nouns": 0.5}), strict=True):
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**settings, "evaluate": told}))
    named = [group["settings"] for group in compare(runs).data]
    assert named == ["reference", "evaluate.open_nouns: None -> 0.5"]


def test_intervals_beyond_the_table_of_quantiles(tmp_path: Path) -> None:
    """Of 21 runs: Student's t with 20 degrees of freedom is 2.086."""
    found = compare([run(tmp_path / f"{i}", float(i), i) for i in range(21)])
    figure = found.data[0]["figures"]["top1.verb"]["all"]
    assert figure["half_interval"] == pytest.approx(2.086 * figure["deviation"] / 21**0.5, rel=1e-3)
