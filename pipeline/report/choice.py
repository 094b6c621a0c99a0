"""Which pictures a page shows where the store knows more than it may hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from cache.keys import derive_number


def choose(verb_of: Mapping[str, str], first: frozenset[str], limit: int) -> list[str]:
    """At most `limit` images (0 = all); the same, in the same order, however `verb_of` is ordered.

    Images in `first` come before all others. Among equals every verb gives its first picture before one
    gives its second, in an order drawn from the names, so that no verb and no file name is favoured.
    """
    by_verb: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for image in sorted(verb_of, key=lambda image: (derive_number("report", image), image)):
        by_verb[image not in first, verb_of[image]].append(image)
    ranked = [
        (later, turn, derive_number("report", verb), verb, image)
        for (later, verb), images in by_verb.items()
        for turn, image in enumerate(images)
    ]
    ranked.sort()
    return [image for *_, image in (ranked[:limit] if limit else ranked)]
