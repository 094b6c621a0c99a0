"""What annotators filled roles with: counted, and which of their nouns a text tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.data.sample import Sample
from stages.data.vocabulary import Vocabulary

# Words that fit nearly everything: "person" is no wrong noun for a man, "outdoors" none for a beach.
CATCH_ALL = frozenset(
    {"adult", "animal", "area", "artifact", "group", "individual", "indoors", "inside", "item", "land"}
    | {"location", "object", "organism", "out", "outdoors", "outside", "people", "person", "place", "room"}
    | {"space", "substance", "thing", "whole"}
)

Filled = tuple[str, ...]  # what the annotators said of a role, sorted: who said which is nothing to a draw


@dataclass(frozen=True, slots=True)
class RoleUse:
    """What fills a role in a set of samples, sorted.

    nouns     WordNet id -> samples in which it is the told one (`annotated_nouns`); 0 of one that nowhere is
    fillings  what three annotators said -> samples in which they did
    """

    nouns: Mapping[str, int]
    fillings: Mapping[Filled, int]


def count_nouns(samples: Iterable[Sample], vocabulary: Vocabulary) -> dict[str, RoleUse]:
    """Role -> what fills it. Give it training samples alone."""
    said = Counter(
        pair for sample in samples for pair in zip(sample.roles, sample.nouns, strict=True) if any(pair[1])
    )
    nouns: dict[str, Counter[str]] = {}
    fillings: dict[str, Counter[Filled]] = {}
    for (role, three), count in said.items():
        told, filled = _told(three, vocabulary), _filled(three)
        counts = nouns.setdefault(role, Counter())
        counts.update({noun: count if noun == told else 0 for noun in filled})
        fillings.setdefault(role, Counter())[filled] += count
    return {
        role: RoleUse(dict(sorted(nouns[role].items())), dict(sorted(fillings[role].items())))
        for role in sorted(nouns)
    }


def _filled(three: Iterable[str]) -> Filled:
    return tuple(sorted(noun for noun in three if noun))


def filled_roles(sample: Sample) -> Iterator[tuple[str, Filled]]:
    """The roles that at least one annotator filled, in the verb's order."""
    for role, three in zip(sample.roles, sample.nouns, strict=True):
        if filled := _filled(three):
            yield role, filled


def annotated_nouns(sample: Sample, vocabulary: Vocabulary) -> dict[str, str]:
    """Role -> the noun that a text tells of it: most annotators' one, the earlier one's at a tie.

    One that fits everything stands behind all others: told on the right side alone, as no wrong noun can be
    one, it would be the mark of a positive. Filled roles only.
    """
    told = ((role, _told(three, vocabulary)) for role, three in zip(sample.roles, sample.nouns, strict=True))
    return {role: noun for role, noun in told if noun}


def _told(three: Sequence[str], vocabulary: Vocabulary) -> str:
    nouns = [noun for noun in three if noun]
    if len(set(nouns)) < 2:
        return nouns[0] if nouns else ""
    return max(nouns, key=lambda noun: (not fits_everything(noun, vocabulary), nouns.count(noun)))


def fits_everything(noun: str, vocabulary: Vocabulary) -> bool:
    """Whether it is called like one of `CATCH_ALL`, so that nothing is surely wrong for it."""
    return any(gloss in CATCH_ALL for gloss in vocabulary.glosses.get(noun, ()))
