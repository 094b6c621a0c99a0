"""Which verbs are seen, rare and unseen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import yaml

from cache.errors import UserError
from stages.data.json_file import read_text
from stages.data.names import nearest, short
from stages.data.sample import Subset


@dataclass(frozen=True, slots=True)
class VerbList:
    """The verbs that somebody names as unseen and as rare; all others are seen."""

    unseen: tuple[str, ...]
    rare: tuple[str, ...]


def frequency_subsets(counts: Mapping[str, int], unseen_share: float, rare_share: float) -> dict[str, Subset]:
    """The verbs with the fewest training pictures are unseen, the next fewest rare; ties by name.

    counts    training pictures of every verb, 0 included
    shares    of the number of verbs, each rounded down: 504 verbs at 0.10 give 50

    The result keeps the order of `counts`.
    """
    unseen, rare = share_of(len(counts), unseen_share), share_of(len(counts), rare_share)
    by_count = sorted(counts, key=lambda verb: (counts[verb], verb))
    subsets: dict[str, Subset] = dict.fromkeys(counts, "seen")
    subsets.update(dict.fromkeys(by_count[:unseen], "unseen"))
    subsets.update(dict.fromkeys(by_count[unseen : unseen + rare], "rare"))
    return subsets


def share_of(number: int, share: float) -> int:
    """`share` of `number`, rounded down. Decimal: 0.29 of 100 is 29, where a float product gives 28."""
    return int(Decimal(str(share)) * number)


def listed_subsets(
    verbs: Collection[str], unseen: Iterable[str], rare: Iterable[str], source: str
) -> dict[str, Subset]:
    """Subsets as named by a list; `source` says in messages where it is from.

    Raises UserError for a verb that is not in `verbs`, or is named both unseen and rare.
    """
    subsets: dict[str, Subset] = dict.fromkeys(verbs, "seen")
    unseen, rare = list(unseen), list(rare)
    for verb in unseen + rare:
        if verb not in subsets:
            raise UserError(
                f"{source}: {verb!r} is not one of the data set's {len(subsets)} verbs"
                f"{nearest(verb, verbs)}; correct the name, or remove it"
            )
    both = sorted(set(unseen) & set(rare))
    if both:
        raise UserError(
            f"{source}: {both[0]!r} is both unseen and rare ({len(both)} such verbs); "
            "a verb belongs to one subset; remove it from one"
        )
    subsets.update(dict.fromkeys(unseen, "unseen"))
    subsets.update(dict.fromkeys(rare, "rare"))
    return subsets


def read_verb_list(path: Path) -> VerbList:
    """Reads ``{"unseen": [...], "rare": [...]}`` from YAML or JSON; an absent list is empty.

    Raises UserError for a file that is missing, not YAML, or of another shape.
    """
    holds = 'two lists of verbs, "unseen" and "rare"'
    text = read_text(path, holds)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as reason:
        raise UserError(f"{path}: not YAML or JSON ({_one_line(reason)}); expected {holds}") from None
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: holds {short(value)}; expected {holds}")
    for key in value:
        if key not in ("unseen", "rare"):
            raise UserError(
                f"{path}: unknown key {short(key)}{nearest(str(key), ('unseen', 'rare'))}; expected {holds}"
            )
    return VerbList(_verbs(path, value, "unseen"), _verbs(path, value, "rare"))


def _verbs(path: Path, value: Mapping[str, object], key: str) -> tuple[str, ...]:
    verbs = value.get(key, [])
    if not isinstance(verbs, list):
        raise UserError(f"{path}: {key!r} is {short(verbs)}; expected a list of verbs")
    for verb in verbs:
        if not isinstance(verb, str):
            raise UserError(
                f"{path}: {key!r} holds {short(verb)}; expected the name of a verb, in quotes if need be"
            )
    return tuple(verbs)


def _one_line(reason: Exception) -> str:
    return " ".join(str(reason).split())
