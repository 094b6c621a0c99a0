"""Chooses the wrong situation of each picture: the hard negative that its negative rationales describe.

Of several candidates the one wins whose hash with seed, image and question is highest, so nothing depends on
the order of the samples, and a data set that grows changes few contrasts: those whose new candidate wins.

Axes: M candidates of a role, N noun classes, V verbs, E width of a label vector, B draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from cache.keys import derive_number, digest_bytes, fingerprint
from stages.batches import batches
from stages.data.sample import Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.engine import Contrast
from stages.teacher.ranking import falling, in_steps, mixed
from stages.teacher.sentence import Words, to_words

# Words that fit nearly everything: "person" is no wrong noun for a man, "outdoors" none for a beach.
CATCH_ALL = frozenset(
    {"adult", "animal", "area", "artifact", "group", "individual", "indoors", "inside", "item", "land"}
    | {"location", "object", "organism", "out", "outdoors", "outside", "people", "person", "place", "room"}
    | {"space", "substance", "thing", "whole"}
)

VERSION = 1  # raise it when the same inputs give other contrasts

Meanings = tuple[frozenset[str], ...]  # the words of each gloss of a noun
Filled = tuple[str, ...]  # what the annotators said of a role, sorted: who said which is nothing to the draw

_DRAWN_KEPT = 16_384  # draws remembered at once, half a kilobyte each: a run's memory must not grow
_BATCH = 64  # draws of one role worked out by one product
_SPARE = 16  # candidates looked at beyond those wanted, because some are not apart from the true noun


def nouns_by_role(samples: Iterable[Sample]) -> dict[str, tuple[str, ...]]:
    """Role -> WordNet ids that any annotator filled it with, sorted. Give it training samples alone."""
    found: dict[str, set[str]] = {}
    for sample in samples:
        for role, nouns in zip(sample.roles, sample.nouns, strict=True):
            found.setdefault(role, set()).update(noun for noun in nouns if noun)
    return {role: tuple(sorted(nouns)) for role, nouns in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The nouns that can be wrong ones of a role.

    salts    [M] uint64, one hash per noun
    vectors  [M, E] float32 label vectors in steps, or None
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
        self._verb_vectors = in_steps(verb_vectors)
        self._noun_vectors = None if noun_vectors is None else in_steps(noun_vectors)
        self._role_nouns = {role: sorted(nouns) for role, nouns in role_nouns.items()}
        self._k, self._seed = k, seed
        self._nearest: dict[str, list[str]] = {}
        self._known_meanings: dict[str, Meanings] = {}
        self._drawn: dict[tuple[str, Filled], NDArray[np.intp]] = {}
        banned = {to_words(verb) for verb in vocabulary.verbs if verb not in allowed}
        self._roles = {role: self._candidates(nouns, banned) for role, nouns in role_nouns.items()}

    @cached_property
    def identity(self) -> str:
        """128-bit hex of all that decides the choices, so that what was worked out from them can be kept."""
        vocabulary = self._vocabulary
        vectors = (self._verb_vectors, self._noun_vectors)
        return fingerprint(
            [
                [VERSION, sorted(CATCH_ALL), self._k, self._seed, self._allowed, self._role_nouns],
                [vocabulary.verbs, vocabulary.nouns, dict(vocabulary.glosses)],
                [None if rows is None else [rows.shape, digest_bytes(rows.tobytes())] for rows in vectors],
            ]
        )

    def choose(self, sample: Sample) -> Contrast:
        """The contrast of one picture; the same on every call and every machine."""
        self.prepare([sample])
        verbs = self.nearest_verbs(sample.verb)
        verb = max(verbs, key=lambda verb: derive_number(self._seed, sample.image, "verb", verb))
        wrong = {role: self._wrong_noun(sample.image, role, filled) for role, filled in _filled_roles(sample)}
        return Contrast(verb, {role: noun for role, noun in wrong.items() if noun is not None})

    def prepare(self, samples: Iterable[Sample]) -> None:
        """Works out together what `choose` will need for a few hundred pictures: in half the time."""
        if len(self._drawn) > _DRAWN_KEPT:
            self._drawn.clear()
        wanted: dict[str, dict[Filled, None]] = {}
        for sample in samples:
            for role, filled in _filled_roles(sample):
                if self._draws(role, filled) and (role, filled) not in self._drawn:
                    wanted.setdefault(role, {})[filled] = None
        for role, sets in wanted.items():
            for part in batches(list(sets), _BATCH):
                self._draw(role, part)

    def nearest_verbs(self, verb: str) -> list[str]:
        """The k allowed verbs nearest to `verb` by dot product, nearest first, without `verb` itself."""
        if verb not in self._nearest:
            verbs, index = self._vocabulary.verbs, self._vocabulary.verb_index[verb]
            near = self._verb_vectors @ self._verb_vectors[index]
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
        if noun not in self._known_meanings:
            glosses = self._vocabulary.glosses.get(noun, (noun,))
            self._known_meanings[noun] = tuple(frozenset(to_words(gloss)) for gloss in glosses)
        return self._known_meanings[noun]

    def _wrong_noun(self, image: str, role: str, filled: Filled) -> str | None:
        """One of the k nearest nouns (of all nouns, without vectors) apart from the annotators' ones."""
        candidates = self._roles.get(role)
        if candidates is None or not candidates.nouns:
            return None
        salt = np.uint64(derive_number(self._seed, image, role))
        if self._draws(role, filled):
            drawn = self._drawn[role, filled]
            best = drawn[mixed(candidates.salts[drawn] ^ salt).argmax()] if drawn.size else None
        else:
            best = next(self._apart(candidates, mixed(candidates.salts ^ salt), filled), None)
        return None if best is None else candidates.nouns[best]

    def _draws(self, role: str, filled: Filled) -> bool:
        """Whether there are vectors to say which of the role's candidates are near the annotators' nouns."""
        index = self._vocabulary.noun_index
        return (
            self._noun_vectors is not None and role in self._roles and any(noun in index for noun in filled)
        )

    def _draw(self, role: str, sets: Sequence[Filled]) -> None:
        """Finds for each set of nouns the k candidates nearest to it, by the sum of the dot products."""
        candidates, index, vectors = self._roles[role], self._vocabulary.noun_index, self._noun_vectors
        assert vectors is not None
        assert candidates.vectors is not None
        sums = [vectors[[index[noun] for noun in filled if noun in index]].sum(axis=0) for filled in sets]
        nearness = np.stack(sums) @ candidates.vectors.T  # [B, E] x [E, M]
        for filled, order in zip(sets, nearness, strict=True):
            near = islice(self._apart(candidates, order, filled), self._k)
            self._drawn[role, filled] = np.fromiter(near, np.intp)

    def _apart(self, candidates: _Candidates, order: NDArray[Any], filled: Sequence[str]) -> Iterator[int]:
        """Candidates by falling `order` [M], without those too like the annotators' nouns."""
        true = {meaning for noun in filled for meaning in self._meanings(noun)}
        wanted = self._k + _SPARE
        return (i for i in falling(order, wanted) if _is_apart(candidates, i, filled, true))


def _filled_roles(sample: Sample) -> Iterator[tuple[str, Filled]]:
    for role, three in zip(sample.roles, sample.nouns, strict=True):
        if filled := tuple(sorted(noun for noun in three if noun)):
            yield role, filled


@lru_cache(maxsize=1 << 16)
def _salt(noun: str) -> int:
    return derive_number(noun)


def _is_apart(candidates: _Candidates, i: int, filled: Sequence[str], true: set[frozenset[str]]) -> bool:
    """Whether a noun is no annotator's and no gloss says the like: "race horse" is not wrong for "horse"."""
    if candidates.nouns[i] in filled:
        return False
    return not any(mine <= theirs or theirs <= mine for mine in candidates.meanings[i] for theirs in true)


def _runs(words: Words) -> Iterator[Words]:
    """Every run of consecutive words."""
    return (words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1))
