"""Bootstrap intervals, against draws made one by one."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest

from stages.data.sample import Subset
from stages.student.measuring.evaluation_settings import EvaluationSettings
from stages.student.measuring.intervals import intervals
from stages.student.measuring.metrics import SETTINGS, PictureResults, summarise

SUBSET_OF: list[Subset] = ["seen", "seen", "rare", "unseen", "seen"]


def drawn_results(pictures: int, seed: int = 0) -> PictureResults:
    """Pictures of five verbs in no order, the k-th with k + 1 roles; what is right is drawn."""
    random = np.random.default_rng(seed)
    verb = random.integers(0, 5, pictures)
    mask = np.arange(6) < (verb + 1)[:, None]
    noun = mask & (random.random(mask.shape) < 0.6)
    return PictureResults(
        images=tuple(f"{i}.jpg" for i in range(pictures)),
        verb=verb,
        rank=random.integers(0, 8, pictures),
        role_mask=mask,
        noun_right=noun,
        ground_right=noun & (random.random(mask.shape) < 0.5),
    )


def chosen(results: PictureResults, rows: np.ndarray) -> PictureResults:
    names = [field.name for field in fields(PictureResults) if field.name != "images"]
    return PictureResults(
        images=tuple(results.images[row] for row in rows),
        **{name: getattr(results, name)[rows] for name in names},
    )


def test_intervals_are_those_of_drawing_pictures_and_measuring_each_draw_anew() -> None:
    """Few pictures of five verbs, so that many draws hold none of some verb, and some none of a subset."""
    results, settings = drawn_results(14), EvaluationSettings(draws=60, level=0.9, seed=3)
    by_verb, random = np.argsort(results.verb, kind="stable"), np.random.default_rng(3)
    draws = [chosen(results, by_verb[random.integers(0, 14, 14)]) for _ in range(60)]
    measured = [summarise(draw, SUBSET_OF, "test") for draw in draws]
    assert any(draw["subsets"]["seen"]["verbs"] < 3 for draw in measured), "verbs drop out of draws"
    assert any(draw["subsets"]["unseen"]["samples"] == 0 for draw in measured), "a subset drops out"

    found = intervals(results, SUBSET_OF, settings)
    for setting, names in SETTINGS.items():
        for name in names:
            for subset in ("all", "seen", "rare", "unseen"):
                values = [draw["subsets"][subset][setting][name] for draw in measured]
                known = [value for value in values if value is not None]
                expected = np.quantile(known, [0.05, 0.95])
                assert found["subsets"][subset][setting][name] == pytest.approx(expected), (subset, name)
            means = [draw["harmonic_mean"][setting][name] for draw in measured]
            expected = np.quantile([mean for mean in means if mean is not None], [0.05, 0.95])
            assert found["harmonic_mean"][setting][name] == pytest.approx(expected), name


def test_draws_made_in_blocks_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    results, settings = drawn_results(40), EvaluationSettings(draws=25)
    whole = intervals(results, SUBSET_OF, settings)
    monkeypatch.setattr("stages.student.measuring.intervals._CELLS", 120)  # three draws at a time
    parts = intervals(results, SUBSET_OF, settings)
    assert parts["subsets"]["seen"]["gt"]["value"] == pytest.approx(whole["subsets"]["seen"]["gt"]["value"])
    assert parts["harmonic_mean"]["top5"]["grnd"] == pytest.approx(whole["harmonic_mean"]["top5"]["grnd"])


def test_the_same_seed_gives_the_same_intervals_and_another_gives_others() -> None:
    results = drawn_results(200)
    first = intervals(results, SUBSET_OF, EvaluationSettings(draws=50))
    assert intervals(results, SUBSET_OF, EvaluationSettings(draws=50)) == first
    assert intervals(results, SUBSET_OF, EvaluationSettings(draws=50, seed=1))["subsets"] != first["subsets"]
    assert (first["draws"], first["level"], first["seed"]) == (50, 0.95, 0)


def test_four_times_the_pictures_halve_an_interval() -> None:
    def width(pictures: int) -> float:
        low, high = intervals(drawn_results(pictures), SUBSET_OF, EvaluationSettings(draws=400))[
            "subsets"
        ]["all"]["gt"]["value"]  # fmt: skip
        return float(high - low)

    assert width(400) == pytest.approx(2 * width(1600), rel=0.25)


def test_of_one_picture_and_of_none_nothing_is_said() -> None:
    results = chosen(drawn_results(60), np.arange(60))
    one = chosen(results, np.array([int(np.flatnonzero(results.verb == 3)[0])]))
    seen = chosen(results, np.flatnonzero(results.verb < 2))
    found = intervals(PictureResults.join([seen, one]), SUBSET_OF, EvaluationSettings(draws=30))
    assert found["subsets"]["unseen"]["top1"] == dict.fromkeys(SETTINGS["top1"])
    assert found["subsets"]["rare"]["gt"] == dict.fromkeys(SETTINGS["gt"])
    assert found["harmonic_mean"]["top5"] == dict.fromkeys(SETTINGS["top5"])
    assert None not in found["subsets"]["seen"]["top1"].values()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    alone = intervals(one, SUBSET_OF, EvaluationSettings(draws=30))
    assert alone["subsets"]["all"]["gt"]["value"] is None


def test_what_is_always_right_has_an_interval_without_width() -> None:
    results = drawn_results(30)
    right = PictureResults(
        results.images,
        results.verb,
        results.rank * 0,
        results.role_mask,
        results.role_mask,
        results.role_mask,
    )
    found = intervals(right, SUBSET_OF, EvaluationSettings(draws=20))
    assert found["subsets"]["all"]["top1"]["grnd_all"] == [100, 100]
    assert found["harmonic_mean"]["gt"]["value"] == [100, 100]
