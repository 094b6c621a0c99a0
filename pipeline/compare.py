"""`mipd-pipe compare`: figures of runs side by side, those that differ in the seed alone taken together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cache.errors import UserError
from pipeline.result import Result
from pipeline.table import render
from stages.settings import changed_settings

_SUBSETS = ("all", "seen", "rare", "unseen")
# Where a run lies and how it was seeded is no difference of method.
_PLACE = ("run_dir", "store_dir")


def compare(folders: Sequence[Path]) -> Result:
    """Top-1 verb and grounded value of each group, mean and standard deviation over its runs, in percent.

    The first folder's group is the reference; the others are named by the settings in which they differ
    from it. Raises UserError where a folder holds no evaluated run.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    reference = _settings(folders[0])
    _require_same_split(folders)
    for folder in folders:
        name = ", ".join(changed_settings(reference, _settings(folder))) or "reference"
        groups.setdefault(name, []).append(_metrics(folder))
    figures = {name: _figures(runs) for name, runs in groups.items()}
    head = ["settings", "runs", *(f"{title} {part}" for title in _FIGURES for part in (*_SUBSETS, "h-mean"))]
    rows = [[name, len(runs), *map(_cell, figures[name].values())] for name, runs in groups.items()]
    data = [{"settings": name, "runs": len(runs), "figures": figures[name]} for name, runs in groups.items()]
    return Result(render(head, rows), data)


def _require_same_split(folders: Sequence[Path]) -> None:
    splits = {folder: _metrics(folder)["split"] for folder in folders}
    if len(set(splits.values())) > 1:
        listed = ", ".join(f"{folder} on {split}" for folder, split in splits.items())
        raise UserError(
            f"the runs were measured on different splits ({listed}), so their figures cannot be compared; "
            "measure them alike with `mipd-pipe evaluate --split test`"
        )


_FIGURES = {"verb": ("top1", "verb"), "grnd": ("top1", "grnd")}


def _figures(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float] | None]:
    figures: dict[str, dict[str, float] | None] = {}
    for title, (setting, name) in _FIGURES.items():
        for subset in _SUBSETS:
            figures[f"{title} {subset}"] = _spread([run["subsets"][subset][setting][name] for run in runs])
        figures[f"{title} h-mean"] = _spread([run["harmonic_mean"][setting][name] for run in runs])
    return figures


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": statistics.fmean(known), "deviation": statistics.stdev(known) if len(known) > 1 else 0.0}


def _cell(figure: Mapping[str, float] | None) -> str:
    return "-" if figure is None else f"{figure['mean']:.1f} ± {figure['deviation']:.1f}"


def _settings(folder: Path) -> dict[str, Any]:
    fields = yaml.safe_load(_read(folder / "config.yaml"))
    settings = {key: value for key, value in fields.items() if key not in _PLACE}
    settings["train"] = {key: value for key, value in settings["train"].items() if key != "seed"}
    return settings


def _metrics(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(_read(folder / "metrics.json"))
    return metrics


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise UserError(
            f"{path.parent} holds no evaluated run (no {path.name}); make one with `mipd-pipe evaluate`"
        ) from None
