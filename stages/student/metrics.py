"""SWiG's metrics: from what was right in each picture to the table of a run.

Every figure is averaged over the pictures of a verb first and over verbs second, in percent:
verb        the right verb is ranked first (top1), or among the first five (top5)
value       share of the roles whose noun is right
value_all   the nouns of all roles are right
grnd        share of the roles whose noun and grounding are right
grnd_all    noun and grounding of all roles are right
Under top1 and top5 a picture whose verb is not ranked so has nothing right; under gt the verb is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data.sample import SUBSETS, Split, Subset

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Figures = dict[str, float | None]

ROLE_FIGURES = ("value", "value_all", "grnd", "grnd_all")
TOP_FIGURES = ("verb", *ROLE_FIGURES)
SETTINGS: Mapping[str, tuple[str, ...]] = {"top1": TOP_FIGURES, "top5": TOP_FIGURES, "gt": ROLE_FIGURES}
TITLES = {"top1": "top-1 verb", "top5": "top-5 verbs", "gt": "given verb"}


@dataclass(frozen=True, slots=True)
class PictureResults:
    """What was right in M pictures.

    images        M keys
    verb          [M] class number of the annotated verb
    rank          [M] its rank among all verbs, 0 = first
    role_mask     [M, R] the role exists for this verb
    noun_right    [M, R] given the annotated verb; False where there is no role
    ground_right  [M, R] noun and grounding right; False where there is no role
    """

    images: tuple[str, ...]
    verb: NDArray[np.int64]
    rank: NDArray[np.int64]
    role_mask: Bools
    noun_right: Bools
    ground_right: Bools

    @staticmethod
    def join(parts: Sequence[PictureResults]) -> PictureResults:
        """The pictures of all parts, in their order; at least one part."""
        images = tuple(image for part in parts for image in part.images)
        names = [field.name for field in fields(PictureResults) if field.name != "images"]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return PictureResults(images=images, **arrays)


def summarise(results: PictureResults, subset_of: Sequence[Subset], split: Split) -> dict[str, Any]:
    """The content of `metrics.json`.

    subset_of  for each verb class, the subset it belongs to
    A subset without pictures has null for every figure, and so has the harmonic mean of what is missing.
    """
    pictures = _picture_figures(results)
    verbs, counts = np.unique(results.verb, return_counts=True)
    means = (
        np.stack([pictures[results.verb == verb].mean(axis=0) for verb in verbs]) if len(verbs) else pictures
    )
    subsets: dict[str, dict[str, Any]] = {}
    for subset in ("all", *SUBSETS):
        chosen = np.array([subset in ("all", subset_of[verb]) for verb in verbs], dtype=bool)
        subsets[subset] = {
            "samples": int(counts[chosen].sum()),
            "verbs": int(chosen.sum()),
            **_name_figures(means[chosen].mean(axis=0) if chosen.any() else None),
        }
    return {
        "split": split,
        "subsets": subsets,
        "harmonic_mean": {
            setting: {
                name: harmonic_mean(subsets["seen"][setting][name], subsets["unseen"][setting][name])
                for name in names
            }
            for setting, names in SETTINGS.items()
        },
    }


def harmonic_mean(a: float | None, b: float | None) -> float | None:
    """2ab / (a + b); 0 where both are 0, None where either is missing."""
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0


def selection_figure(metrics: Mapping[str, Any], subset: str, select: str) -> float | None:
    """The figure a checkpoint is chosen by: ``top1.value`` and the like, or ``mean`` of all fourteen."""
    figures = metrics["subsets"][subset]
    if select != "mean":
        setting, name = select.split(".")
        return figures[setting][name]  # type: ignore[no-any-return]
    all_figures = [figures[setting][name] for setting, names in SETTINGS.items() for name in names]
    return None if None in all_figures else sum(all_figures) / len(all_figures)


def render_table(metrics: Mapping[str, Any]) -> str:
    """The metrics as text for a terminal, 79 columns wide; the harmonic mean is of seen and unseen."""
    names = "".join(f"{name:>10}" for name in TOP_FIGURES)
    lines = [
        f"{metrics['split']} set, in percent, averaged per verb and then over verbs",
        f"{'':<14}{'pictures':>9}{'verbs':>6}{names}",
    ]
    for setting, title in TITLES.items():
        lines.append(title)
        for subset, figures in metrics["subsets"].items():
            head = f"  {subset:<12}{figures['samples']:>9}{figures['verbs']:>6}"
            lines.append(head + _row(figures[setting]))
        lines.append(f"  {'harmonic mean':<27}" + _row(metrics["harmonic_mean"][setting]))
    return "\n".join(lines)


def _row(figures: Figures) -> str:
    cells = (figures.get(name) for name in TOP_FIGURES)
    return "".join(f"{'-':>10}" if cell is None else f"{cell:>10.2f}" for cell in cells)


def _picture_figures(results: PictureResults) -> Floats:
    """[M, 14] in 0..1, in the order of SETTINGS."""
    assert results.role_mask.any(axis=1).all(), "every verb has at least one role"
    roles = results.role_mask.sum(axis=1)
    value = results.noun_right.sum(axis=1)
    ground = results.ground_right.sum(axis=1)
    given = np.stack([value / roles, value == roles, ground / roles, ground == roles], axis=1)
    columns = []
    for ranks in (1, 5):
        hit = (results.rank < ranks)[:, None]
        columns += [hit, hit * given]
    figures: Floats = np.concatenate([*columns, given], axis=1).astype(np.float64)
    return figures


def _name_figures(row: Floats | None) -> dict[str, Figures]:
    """[14] in 0..1 -> percent under their names; None everywhere where there is no row."""
    values = iter([None] * 14 if row is None else (100 * row).tolist())
    return {setting: {name: next(values) for name in names} for setting, names in SETTINGS.items()}
