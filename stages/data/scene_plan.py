"""Which scenes a drawn data set holds: how many of each verb in each split, and who does what in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from stages.data.sample import SPLITS, Split
from stages.data.scene_grammar import (
    AGENT,
    FEWEST_VERBS,
    MOST_VERBS,
    PLACE,
    ChosenVerbs,
    VerbParts,
    chosen_verbs,
)
from stages.data.scene_layout import Scene
from stages.data.scene_nouns import FILLERS, agents, annotate
from stages.data.scene_places import PLACES

PICTURES_PER_VERB = 4  # fewer verbs are drawn rather than fewer pictures of each
FEWEST_IMAGES = FEWEST_VERBS * PICTURES_PER_VERB
TEST_SHARE, DEV_SHARE = 0.20, 0.14
RARE_SHARE = 0.004  # of the training pictures, for one rare verb
UNFILLED = 0.04  # share of roles, other than agent and place, that nothing fills
OVERLOOKED = 0.02  # chance that one annotator leaves a filled role empty

SIZES = ((208, 160), (192, 168), (176, 176))


@dataclass(frozen=True, slots=True)
class Planned:
    """One picture to draw. `names`: role -> what three annotators call it, "" for an unfilled role."""

    image: str
    split: Split
    scene: Scene
    names: dict[str, tuple[str, ...]]


def verbs_for(images: int) -> ChosenVerbs:
    """As many verbs as that number of pictures can show."""
    return chosen_verbs(min(MOST_VERBS, images // PICTURES_PER_VERB))


def split_counts(images: int) -> dict[Split, dict[str, int]]:
    """Pictures per split and verb; they sum to `images`.

    Dev and test hold equally many of every verb, so that each verb's mean rests on the same number of
    pictures; training is long-tailed and holds none of an unseen verb.
    """
    verbs = verbs_for(images)
    test = max(1, round(TEST_SHARE * images / len(verbs.all)))
    dev = max(1, round(DEV_SHARE * images / len(verbs.all)))
    train = images - (test + dev) * len(verbs.all)
    return {
        "train": _long_tail(verbs, train),
        "dev": dict.fromkeys(verbs.all, dev),
        "test": dict.fromkeys(verbs.all, test),
    }


def _long_tail(verbs: ChosenVerbs, total: int) -> dict[str, int]:
    """A few pictures for each rare verb; the rest by falling rank, more than a few for each."""
    rare = max(1, round(RARE_SHARE * total))
    counts = dict.fromkeys(verbs.rare, rare)
    floor = rare + 1
    left = total - rare * len(verbs.rare) - floor * len(verbs.ordinary)
    weights = [1 / (rank + 3) ** 0.8 for rank in range(len(verbs.ordinary))]
    if left < 0:  # the smallest data sets: one picture each, the rest to the first verbs
        floor, left = 1, total - rare * len(verbs.rare) - len(verbs.ordinary)
    return {
        verb: floor + more for verb, more in zip(verbs.ordinary, _share(left, weights), strict=True)
    } | counts


def _share(total: int, weights: Sequence[float]) -> list[int]:
    """Splits `total` by weight into whole numbers that sum to it; leftovers go to the first ones."""
    shares = [int(total * weight / sum(weights)) for weight in weights]
    for rank in range(total - sum(shares)):
        shares[rank % len(shares)] += 1
    return shares


def planned_scenes(images: int, seed: int) -> Iterator[Planned]:
    """Every picture of a data set, split by split and verb by verb; the same on every call."""
    counts = split_counts(images)
    number = dict.fromkeys(verbs_for(images).all, 0)
    for split in SPLITS:
        for verb, count in counts[split].items():
            for _ in range(count):
                number[verb] += 1
                yield _planned(f"{verb}_{number[verb]}", split, verb, seed)


def _planned(name: str, split: Split, verb: str, seed: int) -> Planned:
    key = f"{seed}/{name}"
    rng = Random(f"{key}/plan")
    scene = Scene(key, verb, rng.choice(SIZES), _fillers(verb, rng))
    names = {
        role: annotate(filler, OVERLOOKED, rng) if filler else ("", "", "")
        for role, filler in scene.fillers.items()
    }
    return Planned(f"{name}.jpg", split, scene, names)


def _fillers(verb: str, rng: Random) -> dict[str, str]:
    """Role -> what is drawn, in the order of the verb's roles; nothing appears twice."""
    parts = VerbParts.of(verb)
    fillers: dict[str, str] = {}
    for role in parts.roles:
        if role == AGENT:
            choices: Sequence[str] = agents(parts.use)
        elif role == PLACE:
            choices = tuple(PLACES)
        else:
            choices = FILLERS[role]
        drawn = rng.choice([name for name in choices if name not in fillers.values()])
        empty = role not in (AGENT, PLACE) and rng.random() < UNFILLED
        fillers[role] = "" if empty else drawn
    return fillers
