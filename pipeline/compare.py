"""`mipd-pipe compare`: figures of runs side by side, those that differ in the seed alone taken together."""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cache.errors import UserError
from pipeline.result import Result
from stages.data.sample import SUBSETS
from stages.printable import printable
from stages.settings import changed_settings
from stages.student.metrics import SETTINGS

_SUBSETS = ("all", *SUBSETS)
_PARTS = (*_SUBSETS, "h-mean")
# Where a run lies, how it was seeded and what is told beside its figures is no difference of method.
_NO_METHOD = ("run_dir", "store_dir", "evaluate")
FIGURES = tuple(f"{setting}.{name}" for setting, names in SETTINGS.items() for name in names)
_WIDTH = 100
_CELL = 14


def compare(folders: Sequence[Path], figures: Sequence[str] = ("top1.verb", "top1.grnd")) -> Result:
    """Each group of runs: mean and standard deviation of the figures on every subset, in percent.

    The first folder's group is the reference; the others are named by the settings in which they differ
    from it. Raises UserError where a folder holds no evaluated run or a figure is unknown.
    """
    _require_known(figures)
    groups: dict[str, list[dict[str, Any]]] = {}
    reference = _settings(folders[0])
    _require_same_split(folders)
    for folder in folders:
        name = ", ".join(changed_settings(reference, _settings(folder))) or "reference"
        groups.setdefault(name, []).append(_metrics(folder))
    data = [
        {"settings": name, "runs": len(runs), "figures": {figure: _parts(runs, figure) for figure in figures}}
        for name, runs in groups.items()
    ]
    return Result("\n".join(_lines(data, figures)), data)


def _require_known(figures: Sequence[str]) -> None:
    for figure in figures:
        if figure not in FIGURES:
            raise UserError(f"--figures {figure!r} is not one of {', '.join(FIGURES)}")


def _require_same_split(folders: Sequence[Path]) -> None:
    splits = {folder: _metrics(folder)["split"] for folder in folders}
    if len(set(splits.values())) > 1:
        listed = ", ".join(f"{folder} on {split}" for folder, split in splits.items())
        raise UserError(
            f"the runs were measured on different splits ({listed}), so their figures cannot be compared; "
            "measure them alike with `mipd-pipe evaluate --split test`"
        )


def _parts(runs: Sequence[Mapping[str, Any]], figure: str) -> dict[str, dict[str, float] | None]:
    """Subset -> mean and deviation over the runs; None where no run has the figure."""
    setting, name = figure.split(".")
    found = {subset: _spread([run["subsets"][subset][setting][name] for run in runs]) for subset in _SUBSETS}
    return {**found, "h-mean": _spread([run["harmonic_mean"][setting][name] for run in runs])}


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": statistics.fmean(known), "deviation": statistics.stdev(known) if len(known) > 1 else 0.0}


def _lines(groups: Sequence[Mapping[str, Any]], figures: Sequence[str]) -> Iterator[str]:
    """One block a figure, one line a group: however many figures, no line is wider than a terminal."""
    for number, group in enumerate(groups, 1):
        runs = f"{group['runs']} run{'s' * (group['runs'] != 1)}"
        told = printable(f"{number:>2}  {group['settings']} ({runs})")
        yield from textwrap.wrap(told, _WIDTH, subsequent_indent=" " * 4, break_on_hyphens=False)
    yield ""
    yield " " * 4 + "".join(f"{part:>{_CELL}}" for part in _PARTS)
    for figure in figures:
        yield figure
        for number, group in enumerate(groups, 1):
            cells = (_cell(group["figures"][figure][part]) for part in _PARTS)
            yield f"{number:>4}" + "".join(f"{cell:>{_CELL}}" for cell in cells)


def _cell(figure: Mapping[str, float] | None) -> str:
    return "-" if figure is None else f"{figure['mean']:.1f} ± {figure['deviation']:.1f}"


def _settings(folder: Path) -> dict[str, Any]:
    fields = yaml.safe_load(_read(folder / "config.yaml"))
    settings = {key: value for key, value in fields.items() if key not in _NO_METHOD}
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
