"""SWiG's metrics: from what was right in each picture to the figures of a run.

Every figure is averaged over the pictures of a verb first and over verbs second, in percent:
verb        the right verb is ranked first (top1), or among the first five (top5)
value       share of the roles whose noun is right
value_all   the nouns of all roles are right
grnd        share of the roles whose noun and grounding are right
grnd_all    noun and grounding of all roles are right
Under top1 and top5 a picture whose verb is not ranked so has nothing right; under gt the verb is given.

SWiG's own script differs in two details: it takes `verb` over all pictures (the same where every verb has as
many), and asks boxes to overlap by more than half, counted in whole pixels.
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
FIGURES = sum(map(len, SETTINGS.values()))


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
    verbs, counts, means = verb_means(results)
    subsets: dict[str, dict[str, Any]] = {}
    for subset, chosen in members(verbs, subset_of).items():
        row = (100 * means[chosen].mean(axis=0)).tolist() if chosen.any() else None
        subsets[subset] = {
            "samples": int(counts[chosen].sum()),
            "verbs": int(chosen.sum()),
            **name_figures(row),
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


def verb_means(results: PictureResults) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """The verbs that have pictures, in their order [U], how many each has [U], and their figures [U, 14]."""
    verbs, inverse, counts = np.unique(results.verb, return_inverse=True, return_counts=True)
    sums = np.zeros((len(verbs), FIGURES))
    np.add.at(sums, inverse, picture_figures(results))
    return verbs, counts, sums / counts[:, None]


def members(verbs: Sequence[int] | NDArray[np.int64], subset_of: Sequence[Subset]) -> dict[str, Bools]:
    """For "all" and every subset, which of the verbs belong to it: [U]."""
    return {
        subset: np.array([subset in ("all", subset_of[verb]) for verb in verbs], dtype=bool)
        for subset in ("all", *SUBSETS)
    }


def picture_figures(results: PictureResults) -> Floats:
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


def name_figures(row: Sequence[Any] | None) -> dict[str, dict[str, Any]]:
    """[14] values in the order of SETTINGS -> the same under their names; None everywhere without a row."""
    values = iter([None] * FIGURES if row is None else row)
    return {setting: {name: next(values) for name in names} for setting, names in SETTINGS.items()}
