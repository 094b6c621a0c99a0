"""The closed lists a data set speaks in: verbs with their roles, roles, noun classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BLANK = "blank"  # class of a role that is not filled
OOV = "oov"  # class of a noun outside the published list
PAD = "Pad"  # fills the role axis up to six; never a right answer


@dataclass(frozen=True, slots=True)
class VerbFrame:
    """What a verb asks for.

    roles       in the order of the data set's space file; 1 to 6
    template    sentence with the roles in capitals, e.g. ``AGENT jumps over OBSTACLE at PLACE``
    definition  a sentence that says what the verb means; may be empty
    """

    roles: tuple[str, ...]
    template: str
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Verbs, roles and noun classes, each in its published order.

    The position in `verbs` and `nouns` is the class number that models and files use.
    `nouns` holds WordNet ids and the three special classes `blank`, `oov` and `Pad`.
    """

    verbs: tuple[str, ...]
    roles: tuple[str, ...]
    nouns: tuple[str, ...]
    frames: Mapping[str, VerbFrame]
    glosses: Mapping[str, tuple[str, ...]]
    verb_index: Mapping[str, int] = field(init=False, repr=False)
    noun_index: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verb_index", {verb: i for i, verb in enumerate(self.verbs)})
        object.__setattr__(self, "noun_index", {noun: i for i, noun in enumerate(self.nouns)})

    def noun_class(self, noun: str) -> int:
        """Class number of a WordNet id: `blank` for "", `oov` outside the published list."""
        if noun == "":
            return self.noun_index[BLANK]
        return self.noun_index.get(noun, self.noun_index[OOV])

    def gloss(self, noun: str) -> str:
        """The first gloss of a WordNet id; the id itself where the data set has none."""
        glosses = self.glosses.get(noun, ())
        return glosses[0] if glosses else noun
