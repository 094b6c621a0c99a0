"""Chooses the wrong situation of each picture: the hard negative that its negative rationales describe.

Of several candidates the one wins whose hash with seed, image and question is highest, so nothing depends on
the order of the samples, and a data set that grows changes few contrasts: those whose new candidate wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from cache.keys import derive_number
from stages.data.sample import Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.engine import Contrast
from stages.teacher.sentence import Words, to_words

# Words that fit nearly everything: "person" is no wrong noun for a man, "outdoors" none for a beach.
CATCH_ALL = frozenset(
    {"adult", "animal", "area", "artifact", "group", "individual", "indoors", "inside", "item", "land"}
    | {"location", "object", "organism", "out", "outdoors", "outside", "people", "person", "place", "room"}
    | {"space", "substance", "thing", "whole"}
)

Meanings = tuple[frozenset[str], ...]  # the words of each gloss of a noun


def nouns_by_role(samples: Iterable[Sample]) -> dict[str, tuple[str, ...]]:
    """Role -> WordNet ids that any annotator filled it with, sorted. Give it training samples alone."""
    found: dict[str, set[str]] = {}
    for sample in samples:
        for role, nouns in zip(sample.roles, sample.nouns, strict=True):
            found.setdefault(role, set()).update(noun for noun in nouns if noun)
    return {role: tuple(sorted(nouns)) for role, nouns in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The nouns that can be wrong ones of a role: M of them.

    salts    [M] uint64, one hash per noun
    vectors  [M, E] float32 label vectors, or None
    """

    nouns: tuple[str, ...]
    meanings: tuple[Meanings, ...]
    salts: NDArray[np.uint64]
    vectors: NDArray[np.float32] | None


class ContrastChooser:
    """Chooses each picture's contrast from its annotation and name alone.

    verb_vectors  [V, E] unit rows, label text of the vocabulary's verbs in its order
    allowed       verbs that may be a contrast: seen ones, never an unseen one
    role_nouns    see `nouns_by_role`
    k             how many nearest verbs (and, given `noun_vectors`, nouns) are drawn from; at least 1
    noun_vectors  [N, E] unit rows, label text of the vocabulary's noun classes in its order; without them
                  every noun that the role takes elsewhere is as likely as any other

    Raises UserError where fewer than two verbs are allowed: there is nothing to contrast with.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        verb_vectors: NDArray[np.float32],
        allowed: frozenset[str] | set[str],
        role_nouns: Mapping[str, Sequence[str]],
        k: int,
        seed: int,
        noun_vectors: NDArray[np.float32] | None = None,
    ) -> None:
        assert verb_vectors.shape[0] == len(vocabulary.verbs), "one vector per verb of the vocabulary"
        if len(allowed) < 2:
            raise UserError(
                f"{len(allowed)} of the verbs may serve as a contrast, at least 2 are needed: "
                "every picture needs a wrong verb that has training pictures; look at the split's verbs"
            )
        self._vocabulary = vocabulary
        self._allowed = sorted(vocabulary.verb_index[verb] for verb in allowed)
        self._verb_vectors = verb_vectors
        self._noun_vectors = noun_vectors
        self._k, self._seed = k, seed
        self._nearest: dict[str, list[str]] = {}
        # A few nouns ("man", "woman") fill most roles, and one product over all candidates costs more.
        self._nearness_to = lru_cache(maxsize=4096)(self._nearness_of_one)
        banned = {to_words(verb) for verb in vocabulary.verbs if verb not in allowed}
        self._roles = {role: self._candidates(nouns, banned) for role, nouns in role_nouns.items()}

    def choose(self, sample: Sample) -> Contrast:
        """The contrast of one picture; the same on every call and every machine."""
        verbs = self.nearest_verbs(sample.verb)
        verb = max(verbs, key=lambda verb: derive_number(self._seed, sample.image, "verb", verb))
        nouns = {}
        for role, three in zip(sample.roles, sample.nouns, strict=True):
            filled = [noun for noun in three if noun]
            wrong = self._wrong_noun(sample.image, role, filled) if filled else None
            if wrong is not None:
                nouns[role] = wrong
        return Contrast(verb, nouns)

    def nearest_verbs(self, verb: str) -> list[str]:
        """The k allowed verbs nearest to `verb` by dot product, nearest first, without `verb` itself."""
        if verb not in self._nearest:
            verbs, index = self._vocabulary.verbs, self._vocabulary.verb_index[verb]
            near = _rounded(self._verb_vectors @ self._verb_vectors[index])
            ranked = sorted((i for i in self._allowed if i != index), key=lambda i: (-near[i], i))
            self._nearest[verb] = [verbs[i] for i in ranked[: self._k]]
        return self._nearest[verb]

    def _candidates(self, nouns: Sequence[str], banned: set[Words]) -> _Candidates:
        index = self._vocabulary.noun_index
        usable = tuple(noun for noun in sorted(nouns) if self._may_be_wrong(noun, banned))
        return _Candidates(
            usable,
            tuple(self._meanings(noun) for noun in usable),
            np.array([_salt(noun) for noun in usable], np.uint64),
            None if self._noun_vectors is None else self._noun_vectors[[index[noun] for noun in usable]],
        )

    def _may_be_wrong(self, noun: str, banned: set[Words]) -> bool:
        """Not a noun that fits everything, has no gloss, or is called like a verb that nobody may name."""
        glosses = self._vocabulary.glosses.get(noun, ())
        if not glosses or any(gloss in CATCH_ALL for gloss in glosses):
            return False
        if self._noun_vectors is not None and noun not in self._vocabulary.noun_index:
            return False
        return not any(run in banned for gloss in glosses for run in _runs(to_words(gloss)))

    def _meanings(self, noun: str) -> Meanings:
        glosses = self._vocabulary.glosses.get(noun, (noun,))
        return tuple(frozenset(to_words(gloss)) for gloss in glosses)

    def _wrong_noun(self, image: str, role: str, filled: list[str]) -> str | None:
        """One of the k nearest nouns (of all nouns, without vectors) apart from the annotators' ones."""
        candidates = self._roles.get(role)
        if candidates is None or not candidates.nouns:
            return None
        weights = _mixed(candidates.salts ^ np.uint64(derive_number(self._seed, image, role)))
        nearness = self._nearness(role, filled)
        order = weights if nearness is None else nearness
        ranked = np.argsort(-order, kind="stable")
        true = [meaning for noun in filled for meaning in self._meanings(noun)]
        apart = (i for i in ranked.tolist() if _is_apart(candidates, i, filled, true))
        drawn_from = list(islice(apart, 1 if nearness is None else self._k))
        best = max(drawn_from, key=lambda i: float(weights[i]), default=None)
        return None if best is None else candidates.nouns[best]

    def _nearness(self, role: str, filled: list[str]) -> NDArray[np.float32] | None:
        """[M] sum of the dot products with the annotators' nouns; None where there are no vectors for it."""
        known = [noun for noun in filled if noun in self._vocabulary.noun_index]
        if self._noun_vectors is None or not known:
            return None
        total: NDArray[np.float32] = np.sum([self._nearness_to(role, noun) for noun in known], axis=0)
        return total

    def _nearness_of_one(self, role: str, noun: str) -> NDArray[np.float32]:
        assert self._noun_vectors is not None
        vectors = self._roles[role].vectors
        assert vectors is not None
        return _rounded(vectors @ self._noun_vectors[self._vocabulary.noun_index[noun]])


@lru_cache(maxsize=1 << 16)
def _salt(noun: str) -> int:
    return derive_number(noun)


def _rounded(products: NDArray[np.float32]) -> NDArray[np.float32]:
    # The last bits of a dot product differ between machines and would flip near-ties.
    return np.round(products, 5)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Scatters 64-bit numbers evenly over 0..1 (the finaliser of SplitMix64, Steele et al. 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    numbers = numbers ^ (numbers >> np.uint64(31))
    return (numbers >> np.uint64(11)).astype(np.float64) / 2.0**53


def _is_apart(candidates: _Candidates, i: int, filled: list[str], true: list[frozenset[str]]) -> bool:
    """Whether a noun is no annotator's and no gloss says the like: "race horse" is not wrong for "horse"."""
    if candidates.nouns[i] in filled:
        return False
    return not any(mine <= theirs or theirs <= mine for mine in candidates.meanings[i] for theirs in true)


def _runs(words: Words) -> Iterator[Words]:
    """Every run of consecutive words."""
    return (words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1))
