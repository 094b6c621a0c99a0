"""`mipd-pipe compare`: figures of runs side by side, those that differ in the seed alone taken together."""

from __future__ import annotations

import json
import math
import statistics
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cache.errors import UserError
from pipeline.result import Result
from stages.data.sample import SUBSETS
from stages.printable import printable
from stages.settings import changed_settings
from stages.student.measuring.metrics import SETTINGS

_SUBSETS = ("all", *SUBSETS)
_PARTS = (*_SUBSETS, "h-mean")
# Where a run lies, how it was seeded and what is told beside its figures is no difference of method.
_PLACE = ("run_dir", "store_dir")
_TOLD_BESIDE = ("draws", "level", "seed", "worst_verbs")
FIGURES = tuple(f"{setting}.{name}" for setting, names in SETTINGS.items() for name in names)
_WIDTH = 100
_CELL = 14
_LEGEND = (
    "percent, mean over runs ± half of its 95 % interval (Student's t); h-mean: harmonic mean of seen and "
    "unseen; 2-1: the same of the differences between runs of one seed"
)

Figure = dict[str, float | None]
Pick = Callable[[Mapping[str, Any]], float | None]


def compare(folders: Sequence[Path], figures: Sequence[str] = ("top1.verb", "top1.grnd")) -> Result:
    """Each group of runs: mean of the figures on every subset with its interval, in percent; and how far each
    group lies from the first, seed by seed.

    The first folder's group is the reference; the others are named by the settings in which they differ
    from it. Raises UserError where a folder holds no evaluated run or a figure is unknown.
    """
    _require_known(figures)
    groups: dict[str, dict[int, dict[str, Any]]] = {}
    reference = _settings(folders[0])
    metrics = {folder: _metrics(folder) for folder in folders}
    splits = {folder: one["split"] for folder, one in metrics.items()}
    _require_alike("splits", splits, "measure them alike with `mipd-pipe evaluate --split test`")
    # Runs measured before metrics.json told the data are taken as they are.
    data_of = {folder: one["data"]["evaluated"] for folder, one in metrics.items() if "data" in one}
    _require_alike("data", data_of, "measure them on one data set with `mipd-pipe evaluate`")
    for number, folder in enumerate(folders):
        name = ", ".join(changed_settings(reference, _settings(folder))) or "reference"
        runs, seed = groups.setdefault(name, {}), _seed(folder)
        runs[seed if seed not in runs else -1 - number] = metrics[folder]  # a seed twice pairs with none
    data = [_group(name, runs, groups["reference"], figures) for name, runs in groups.items()]
    return Result("\n".join(_lines(data, figures)), data)


def _group(
    name: str, runs: Mapping[int, Any], reference: Mapping[int, Any], figures: Sequence[str]
) -> dict[str, Any]:
    def each(of: Callable[[Pick], Figure | None]) -> dict[str, dict[str, Figure | None]]:
        return {figure: {part: of(_pick(figure, part)) for part in _PARTS} for figure in figures}

    return {
        "settings": name,
        "runs": len(runs),
        "figures": each(lambda pick: _spread(list(runs.values()), pick)),
        "differences": each(lambda pick: _difference(runs, reference, pick)),
    }


def _require_known(figures: Sequence[str]) -> None:
    for figure in figures:
        if figure not in FIGURES:
            raise UserError(f"--figures {figure!r} is not one of {', '.join(FIGURES)}")


def _require_alike(what: str, told: Mapping[Path, str], mend: str) -> None:
    if len(set(told.values())) > 1:
        listed = ", ".join(f"{folder} on {value}" for folder, value in told.items())
        raise UserError(
            f"the runs were measured on different {what} ({listed}), so their figures cannot be "
            f"compared; {mend}"
        )


def _pick(figure: str, part: str) -> Pick:
    """Where a figure stands in metrics.json."""
    setting, name = figure.split(".")

    def pick(metrics: Mapping[str, Any]) -> float | None:
        table = metrics["harmonic_mean"] if part == "h-mean" else metrics["subsets"][part]
        found: float | None = table[setting][name]
        return found

    return pick


def _spread(runs: Sequence[Mapping[str, Any]], pick: Pick) -> Figure | None:
    """None where no run has the figure."""
    known = [value for run in runs if (value := pick(run)) is not None]
    if not known:
        return None
    return _mean(known)


def _difference(runs: Mapping[int, Any], first: Mapping[int, Any], pick: Pick) -> Figure | None:
    """Of the seeds both groups have; None where they share fewer than two, and of a group with itself.

    Runs of one seed share first weights and order, so their difference varies less than either.
    """
    pairs = [(pick(runs[seed]), pick(first[seed])) for seed in runs.keys() & first.keys() if seed >= 0]
    known = [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]
    if runs is first or len(known) < 2:
        return None
    return _mean(known)


def _mean(known: Sequence[float]) -> Figure:
    """With the standard deviation and half of the mean's 95 % interval, which a single value has not."""
    if len(known) < 2:
        return {"mean": known[0], "deviation": None, "half_interval": None}
    deviation = statistics.stdev(known)
    half = _quantile(len(known) - 1) * deviation / math.sqrt(len(known))
    return {"mean": statistics.fmean(known), "deviation": deviation, "half_interval": half}


# 97.5 % of Student's t for 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # fmt: skip


def _quantile(degrees: int) -> float:
    """Beyond the table, the first terms of the expansion about the normal's 1.96; to 0.002."""
    return _T[degrees - 1] if degrees <= len(_T) else 1.96 + 2.372 / degrees + 2.823 / degrees**2


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
            yield f"{number:>4}" + _cells(group["figures"][figure])
        for number, group in enumerate(groups, 1):
            if any(group["differences"][figure].values()):
                yield f"{f'{number}-1':>4}" + _cells(group["differences"][figure], sign="+")
    yield ""
    yield from textwrap.wrap(_LEGEND, _WIDTH)


def _cells(parts: Mapping[str, Figure | None], sign: str = "") -> str:
    return "".join(f"{_cell(parts[part], sign):>{_CELL}}" for part in _PARTS)


def _cell(figure: Figure | None, sign: str) -> str:
    if figure is None:
        return "-"
    half = figure["half_interval"]
    around = "" if half is None else f" ± {half:.1f}"
    return f"{figure['mean']:{sign}.1f}{around}"


def _settings(folder: Path) -> dict[str, Any]:
    fields = yaml.safe_load(_read(folder / "config.yaml"))
    settings = {key: value for key, value in fields.items() if key not in _PLACE}
    settings["train"] = {key: value for key, value in settings["train"].items() if key != "seed"}
    told = settings.get("evaluate", {})
    settings["evaluate"] = {key: value for key, value in told.items() if key not in _TOLD_BESIDE}
    return settings


def _seed(folder: Path) -> int:
    return int(yaml.safe_load(_read(folder / "config.yaml"))["train"]["seed"])


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
