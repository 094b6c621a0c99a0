"""Chooses the wrong situation of each picture: the hard negative that its negative rationales describe.

Drawn from the nearest with weights that make each verb and noun about as frequent on the wrong side as it is
on the right one (`stages.teacher.asking.balance`): drawn evenly, rare words would be the mark of a negative.

Of several candidates the one wins whose hash with seed, image and question, weighted, is highest, so nothing
depends on the order of the samples, and a data set that grows a little changes few contrasts.

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
from stages.teacher.asking.balance import balanced_weights, chances
from stages.teacher.asking.ranking import falling, in_steps, mixed
from stages.teacher.asking.role_nouns import CATCH_ALL, Filled, RoleUse, filled_roles, fits_everything
from stages.teacher.asking.sentence import Words, to_words
from stages.teacher.engines.engine import Contrast

VERSION = 2  # raise it when the same inputs give other contrasts

Meanings = tuple[frozenset[str], ...]  # the words of each gloss of a noun

_POOLS_KEPT = 16_384  # remembered at once, a kilobyte each: a run's memory must not grow
_BATCH = 64  # pools of one role worked out by one product
_BALANCED = 500  # fillings of a role that its weights are worked out from: a tenth of a second
_VERB = ""  # the verb's place among the roles
_SPARE = 16  # candidates looked at beyond those wanted, because some are not apart from the true noun


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The nouns that can be wrong ones of a role.

    salts    [M] uint64, one hash per noun
    counts   [M] samples that the noun fills the role of
    vectors  [M, E] float32 label vectors in steps, or None
    """

    nouns: tuple[str, ...]
    meanings: tuple[Meanings, ...]
    salts: NDArray[np.uint64]
    counts: NDArray[np.float64]
    vectors: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class _Pool:
    """What one word of a contrast is drawn from.

    salts    [M] uint64, one hash per name
    weights  [M] how likely each is, see `balanced_weights`
    """

    names: Sequence[str]
    salts: NDArray[np.uint64]
    weights: NDArray[np.float64]


class ContrastChooser:
    """Chooses each picture's contrast from its annotation and name alone.

    verb_vectors  [V, E] unit rows, label text of the vocabulary's verbs in its order
    verb_counts   training samples of each verb that may be a contrast: seen ones, never an unseen one
    role_nouns    see `count_nouns`
    k             how many nearest verbs (and, given `noun_vectors`, nouns) are drawn from; at least 1
    noun_vectors  [N, E] unit rows, label text of the vocabulary's noun classes in its order; without them
                  every noun that the role takes elsewhere is as likely as any other

    Raises UserError where fewer than two verbs are allowed: there is nothing to contrast with.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        verb_vectors: NDArray[np.float32],
        verb_counts: Mapping[str, int],
        role_nouns: Mapping[str, RoleUse],
        k: int,
        seed: int,
        noun_vectors: NDArray[np.float32] | None = None,
    ) -> None:
        assert verb_vectors.shape[0] == len(vocabulary.verbs), "one vector per verb of the vocabulary"
        if len(verb_counts) < 2:
            raise UserError(
                f"{len(verb_counts)} of the verbs may serve as a contrast, at least 2 are needed: "
                "every picture needs a wrong verb that has training pictures; look at the split's verbs"
            )
        self._vocabulary = vocabulary
        self._verb_counts = dict(sorted(verb_counts.items()))
        self._allowed = sorted(vocabulary.verb_index[verb] for verb in verb_counts)
        self._verb_vectors = in_steps(verb_vectors)
        self._noun_vectors = None if noun_vectors is None else in_steps(noun_vectors)
        self._role_nouns = dict(sorted(role_nouns.items()))
        self._k, self._seed = k, seed
        self._nearest: dict[str, list[str]] = {}
        self._known_meanings: dict[str, Meanings] = {}
        self._pools: dict[tuple[str, Filled], _Pool] = {}
        self._verb_pools: dict[str, _Pool] = {}
        self._noun_weights: dict[str, NDArray[np.float64]] = {}
        self._fit_everything = {noun for noun in vocabulary.glosses if fits_everything(noun, vocabulary)}
        banned = {to_words(verb) for verb in vocabulary.verbs if verb not in verb_counts}
        self._roles = {role: self._candidates(use.nouns, banned) for role, use in role_nouns.items()}

    @cached_property
    def identity(self) -> str:
        """128-bit hex of all that decides the choices, so that what was worked out from them can be kept."""
        vocabulary = self._vocabulary
        vectors, used = (self._verb_vectors, self._noun_vectors), self._role_nouns.items()
        return fingerprint(
            [
                [VERSION, sorted(CATCH_ALL), self._k, self._seed, self._verb_counts],
                [[role, dict(use.nouns), list(use.fillings.items())] for role, use in used],
                [vocabulary.verbs, vocabulary.nouns, dict(vocabulary.glosses)],
                [None if rows is None else [rows.shape, digest_bytes(rows.tobytes())] for rows in vectors],
            ]
        )

    def choose(self, sample: Sample) -> Contrast:
        """The contrast of one picture; the same on every call and every machine."""
        self._forget()
        image = derive_number(self._seed, sample.image)
        asked = self._asked_roles(sample)
        pools = {role: pool for role, filled in asked if (pool := self._noun_pool(role, filled))}
        verb, *nouns = _draw_each(image, {_VERB: self._verb_pool(sample.verb), **pools})
        wrong = dict(zip(pools, nouns, strict=True))
        for role, filled in asked:
            if role not in pools and (noun := self._any_wrong_noun(image, role, filled)):
                wrong[role] = noun
        return Contrast(verb, {role: wrong[role] for role, _ in asked if role in wrong})

    def prepare(self, samples: Iterable[Sample]) -> None:
        """Works out together what `choose` will need for a few hundred pictures: in half the time."""
        self._forget()
        wanted: dict[str, dict[Filled, None]] = {}
        for sample in samples:
            for role, filled in self._asked_roles(sample):
                if (role, filled) not in self._pools and self._has_near(role, filled):
                    wanted.setdefault(role, {})[filled] = None
        for role, sets in wanted.items():
            self._fill(role, list(sets))

    def _asked_roles(self, sample: Sample) -> list[tuple[str, Filled]]:
        """The filled roles for which something is surely wrong, as nothing is for "outdoors" alone.

        All of them where there would be none: a picture needs some wrong noun.
        """
        roles = list(filled_roles(sample))
        sure = [(role, filled) for role, filled in roles if not self._fit_everything.issuperset(filled)]
        return sure or roles

    def _forget(self) -> None:
        if len(self._pools) > _POOLS_KEPT:
            self._pools.clear()

    def nearest_verbs(self, verb: str) -> list[str]:
        """The k allowed verbs nearest to `verb` by dot product, nearest first, without `verb` itself."""
        if verb not in self._nearest:
            verbs, index = self._vocabulary.verbs, self._vocabulary.verb_index[verb]
            near = self._verb_vectors @ self._verb_vectors[index]
            ranked = sorted((i for i in self._allowed if i != index), key=lambda i: (-near[i], i))
            self._nearest[verb] = [verbs[i] for i in ranked[: self._k]]
        return self._nearest[verb]

    @cached_property
    def _verb_weights(self) -> dict[str, float]:
        """What balances the contrasts of all training samples over the verbs that may be one."""
        verbs = list(self._verb_counts)
        number = {verb: i for i, verb in enumerate(verbs)}
        near = [[number[other] for other in self.nearest_verbs(verb)] for verb in verbs]
        counts = np.array([self._verb_counts[verb] for verb in verbs], np.float64)
        return dict(zip(verbs, balanced_weights(near, counts, counts).tolist(), strict=True))

    def _weights(self, role: str) -> NDArray[np.float64]:
        """[M] what balances the wrong nouns of a role, over the commonest of what is said of it."""
        if role not in self._noun_weights:
            counts, fillings = self._roles[role].counts, self._role_nouns[role].fillings
            known = (filled for filled in fillings if self._has_near(role, filled))
            common = sorted(known, key=lambda filled: (-fillings[filled], filled))[:_BALANCED]
            near = list(self._near(role, common))
            sizes = np.array([fillings[filled] for filled in common], np.float64)
            self._noun_weights[role] = balanced_weights([some.tolist() for some in near], sizes, counts)
        return self._noun_weights[role]

    def _candidates(self, nouns: Mapping[str, int], banned: set[Words]) -> _Candidates:
        index = self._vocabulary.noun_index
        usable = tuple(noun for noun in sorted(nouns) if self._may_be_wrong(noun, banned))
        return _Candidates(
            usable,
            tuple(self._meanings(noun) for noun in usable),
            np.array([_salt(noun) for noun in usable], np.uint64),
            np.array([nouns[noun] for noun in usable], np.float64),
            None if self._noun_vectors is None else self._noun_vectors[[index[noun] for noun in usable]],
        )

    def _may_be_wrong(self, noun: str, banned: set[Words]) -> bool:
        """Not a noun that fits everything, has no gloss, or is called like a verb that nobody may name."""
        glosses = self._vocabulary.glosses.get(noun, ())
        if not glosses or noun in self._fit_everything:
            return False
        if self._noun_vectors is not None and noun not in self._vocabulary.noun_index:
            return False
        return not any(run in banned for gloss in glosses for run in _runs(to_words(gloss)))

    def _meanings(self, noun: str) -> Meanings:
        if noun not in self._known_meanings:
            glosses = self._vocabulary.glosses.get(noun, (noun,))
            self._known_meanings[noun] = tuple(frozenset(to_words(gloss)) for gloss in glosses)
        return self._known_meanings[noun]

    def _verb_pool(self, verb: str) -> _Pool:
        if verb not in self._verb_pools:
            names = self.nearest_verbs(verb)
            salts = np.array([_salt(name) for name in names], np.uint64)
            weights = np.array([self._verb_weights[name] for name in names])
            self._verb_pools[verb] = _Pool(names, salts, weights)
        return self._verb_pools[verb]

    def _noun_pool(self, role: str, filled: Filled) -> _Pool | None:
        """The k nearest nouns apart from the annotators' ones; None where nothing says what is near."""
        if (role, filled) not in self._pools:
            if not self._has_near(role, filled):
                return None
            self._fill(role, [filled])
        pool = self._pools[role, filled]
        return pool if pool.names else None

    def _any_wrong_noun(self, image: int, role: str, filled: Filled) -> str | None:
        """A noun of the role apart from the annotators' ones, the likelier the more often it fills it.

        One that is never most annotators' word is taken where there is no other.
        """
        candidates = self._roles.get(role)
        if candidates is None or self._has_near(role, filled):
            return None
        draws = chances(mixed(candidates.salts ^ np.uint64(image ^ _salt(role))), candidates.counts)
        best = next(self._apart(candidates, draws, filled), None)
        return None if best is None else candidates.nouns[best]

    def _has_near(self, role: str, filled: Filled) -> bool:
        """Whether there are vectors to say which of the role's candidates are near the annotators' nouns."""
        index = self._vocabulary.noun_index
        return (
            self._noun_vectors is not None and role in self._roles and any(noun in index for noun in filled)
        )

    def _fill(self, role: str, sets: Sequence[Filled]) -> None:
        """Makes the pools of these sets of nouns."""
        candidates, weights = self._roles[role], self._weights(role)
        for filled, near in zip(sets, self._near(role, sets), strict=True):
            names = [candidates.nouns[i] for i in near]
            self._pools[role, filled] = _Pool(names, candidates.salts[near], weights[near])

    def _near(self, role: str, sets: Sequence[Filled]) -> Iterator[NDArray[np.intp]]:
        """For each set of nouns the k candidates nearest to it, by the sum of the dot products."""
        candidates, index, vectors = self._roles[role], self._vocabulary.noun_index, self._noun_vectors
        assert vectors is not None
        assert candidates.vectors is not None
        for part in batches(sets, _BATCH):
            sums = [vectors[[index[noun] for noun in filled if noun in index]].sum(axis=0) for filled in part]
            nearness = np.stack(sums) @ candidates.vectors.T  # [B, E] x [E, M]
            for filled, order in zip(part, nearness, strict=True):
                yield np.fromiter(islice(self._apart(candidates, order, filled), self._k), np.intp)

    def _apart(self, candidates: _Candidates, order: NDArray[Any], filled: Sequence[str]) -> Iterator[int]:
        """Candidates by falling `order` [M], without those too like the annotators' nouns."""
        true = {meaning for noun in filled for meaning in self._meanings(noun)}
        wanted = self._k + _SPARE
        return (i for i in falling(order, wanted) if _is_apart(candidates, i, filled, true))


@lru_cache(maxsize=1 << 16)
def _salt(name: str) -> int:
    return derive_number(name)


def _draw_each(image: int, pools: Mapping[str, _Pool]) -> list[str]:
    """One name of each pool; the hashes of all are worked out at once, in half the time."""
    salts = [pool.salts ^ np.uint64(image ^ _salt(role)) for role, pool in pools.items()]
    draws = chances(mixed(np.concatenate(salts)), np.concatenate([pool.weights for pool in pools.values()]))
    names, start = [], 0
    for pool in pools.values():
        end = start + len(pool.names)
        names.append(pool.names[int(draws[start:end].argmax())])
        start = end
    return names


def _is_apart(candidates: _Candidates, i: int, filled: Sequence[str], true: set[frozenset[str]]) -> bool:
    """Whether a noun is no annotator's and no gloss says the like: "race horse" is not wrong for "horse"."""
    if candidates.nouns[i] in filled:
        return False
    return not any(mine <= theirs or theirs <= mine for mine in candidates.meanings[i] for theirs in true)


def _runs(words: Words) -> Iterator[Words]:
    """Every run of consecutive words."""
    return (words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1))
