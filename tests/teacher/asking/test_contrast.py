from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cache.errors import UserError
from stages.data.sample import Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.asking import contrast as contrast_module
from stages.teacher.asking.contrast import ContrastChooser
from stages.teacher.asking.role_nouns import CATCH_ALL, RoleUse, annotated_nouns, count_nouns
from tests.teacher.examples import GLOSSES, VOCABULARY, jumping
from tests.teacher.strategies import samples

VERBS = VOCABULARY.verbs


def use(nouns: Iterable[str]) -> RoleUse:
    """Each of the nouns as frequent as any other."""
    return RoleUse(dict.fromkeys(nouns, 1), {})


def equally(verbs: Iterable[str] = VERBS) -> dict[str, int]:
    return dict.fromkeys(verbs, 1)


NOUNS = {role: use(GLOSSES) for role in VOCABULARY.roles}


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


VECTORS = unit(np.random.default_rng(3).normal(size=(len(VERBS), 6)).astype(np.float32))
NOUN_VECTORS = unit(np.random.default_rng(4).normal(size=(len(VOCABULARY.nouns), 6)).astype(np.float32))


def chooser(
    allowed: set[str] | None = None, k: int = 3, seed: int = 0, nouns: bool = False
) -> ContrastChooser:
    vectors = NOUN_VECTORS if nouns else None
    return ContrastChooser(
        VOCABULARY, VECTORS, equally(VERBS if allowed is None else allowed), NOUNS, k, seed, vectors
    )


def test_the_nearest_allowed_verbs_are_found_nearest_first() -> None:
    allowed = {"jumping", "diving", "building", "snowing"}
    near = VECTORS @ VECTORS[VERBS.index("jumping")]
    expected = sorted(allowed - {"jumping"}, key=lambda verb: -near[VERBS.index(verb)])
    assert chooser(allowed, k=2).nearest_verbs("jumping") == expected[:2]
    assert chooser(allowed, k=9).nearest_verbs("jumping") == expected
    assert chooser(allowed, k=1).choose(jumping()).verb == expected[0]


def test_equally_near_verbs_are_ordered_by_the_vocabulary() -> None:
    same = np.full((len(VERBS), 2), 0.5, np.float32)
    chosen = ContrastChooser(VOCABULARY, same, equally(), NOUNS, 2, 0).nearest_verbs("jumping")
    assert chosen == ["diving", "swimming"]


@settings(max_examples=100, deadline=None)
@given(samples(VOCABULARY), st.sets(st.sampled_from(VERBS), min_size=2), st.booleans(), st.integers(0, 99))
def test_a_contrast_is_wrong_allowed_and_reproducible(
    sample: Sample, allowed: set[str], with_vectors: bool, seed: int
) -> None:
    contrast = chooser(allowed, seed=seed, nouns=with_vectors).choose(sample)
    assert contrast.verb in allowed - {sample.verb}
    assert contrast == chooser(allowed, seed=seed, nouns=with_vectors).choose(sample)
    for role, nouns in zip(sample.roles, sample.nouns, strict=True):
        filled = [noun for noun in nouns if noun]
        assert filled or role not in contrast.nouns
        if role in contrast.nouns:
            wrong = contrast.nouns[role]
            assert wrong not in filled
            words = set(GLOSSES[wrong][0].split())
            assert not any(words <= set(GLOSSES[noun][0].split()) for noun in filled)
            assert not words & CATCH_ALL
            assert "swimming" in allowed or wrong != "n00000008"  # the swimming pool


def test_other_pictures_get_other_contrasts() -> None:
    choice = chooser()
    pictures = [
        Sample(f"{n}.jpg", *(getattr(jumping(), name) for name in Sample.__slots__[1:])) for n in range(60)
    ]
    contrasts = [choice.choose(picture) for picture in pictures]
    assert {contrast.verb for contrast in contrasts} == set(choice.nearest_verbs("jumping"))
    assert len({contrast.nouns["agent"] for contrast in contrasts}) > 3
    assert [chooser(seed=1).choose(picture) for picture in pictures] != contrasts


def test_the_order_of_the_pictures_does_not_matter() -> None:
    choice, other = chooser(), chooser()
    pictures = [
        Sample(f"{n}.jpg", *(getattr(jumping(), name) for name in Sample.__slots__[1:])) for n in range(9)
    ]
    forwards = [choice.choose(picture) for picture in pictures]
    assert [other.choose(picture) for picture in reversed(pictures)] == forwards[::-1]


def test_a_noun_that_joins_changes_only_the_contrasts_it_wins() -> None:
    fewer = {role: use(list(GLOSSES)[:-1]) for role in NOUNS}
    before = ContrastChooser(VOCABULARY, VECTORS, equally(), fewer, 3, 0)
    after = chooser()
    pictures = [
        Sample(f"{n}.jpg", *(getattr(jumping(), name) for name in Sample.__slots__[1:])) for n in range(60)
    ]
    changed = [
        (before.choose(picture).nouns["agent"], after.choose(picture).nouns["agent"])
        for picture in pictures
        if before.choose(picture) != after.choose(picture)
    ]
    assert 0 < len(changed) < 40
    assert {new for old, new in changed if old != new} == {list(GLOSSES)[-1]}


def test_with_vectors_the_nouns_are_near_ones() -> None:
    choice = chooser(k=1, nouns=True)
    wrong = choice.choose(jumping()).nouns["agent"]
    index = VOCABULARY.noun_index
    near = NOUN_VECTORS @ NOUN_VECTORS[index["n00000001"]]
    usable = [
        noun for noun in GLOSSES if noun not in {"n00000001", "n00000007", "n00000010"}
    ]  # outdoors, person
    assert wrong == max(usable, key=lambda noun: near[index[noun]])


def test_nothing_is_surely_wrong_for_a_noun_that_fits_everything() -> None:
    """A picture taken outdoors may well show a field: it is wrong only where no other role has a noun."""
    outdoors = "n00000007"
    alone = chooser(nouns=True).choose(jumping({"place": outdoors})).nouns
    beside = chooser(nouns=True).choose(jumping({"agent": "n00000001", "place": outdoors})).nouns
    assert (set(alone), set(beside)) == ({"place"}, {"agent"})
    sample = replace(jumping(), roles=("place",), nouns=((outdoors, "n00000011", outdoors),), boxes=(None,))
    assert chooser(nouns=True).choose(sample).nouns.keys() == {"place"}
    assert annotated_nouns(sample, VOCABULARY) == {"place": "n00000011"}


def test_a_role_without_a_wrong_noun_is_left_out() -> None:
    only_horses = {"agent": use(("n00000003", "n00000004", "n00000010"))}
    choice = ContrastChooser(VOCABULARY, VECTORS, equally(), only_horses, 3, 0)
    assert choice.choose(jumping({"agent": "n00000003", "place": "n00000011"})).nouns == {}


def test_a_noun_called_like_a_verb_nobody_may_name_is_not_used() -> None:
    pools = {"agent": use(("n00000008",))}  # swimming pool
    sample = jumping({"agent": "n00000001"})
    free = ContrastChooser(VOCABULARY, VECTORS, equally(), pools, 3, 0)
    bound = ContrastChooser(VOCABULARY, VECTORS, equally(set(VERBS) - {"swimming"}), pools, 3, 0)
    assert free.choose(sample).nouns == {"agent": "n00000008"}
    assert bound.choose(sample).nouns == {}


@settings(max_examples=50, deadline=None)
@given(st.lists(samples(VOCABULARY), max_size=8), st.integers(1, 5))
def test_preparing_pictures_together_changes_no_contrast(pictures: list[Sample], k: int) -> None:
    prepared, alone = chooser(k=k, nouns=True), chooser(k=k, nouns=True)
    prepared.prepare(pictures)
    assert [prepared.choose(picture) for picture in pictures] == [alone.choose(p) for p in pictures]


@settings(max_examples=50, deadline=None)
@given(samples(VOCABULARY), st.permutations(range(3)))
def test_who_of_the_annotators_said_what_does_not_matter(sample: Sample, order: list[int]) -> None:
    """Every role is shuffled alike: the same three people in another order."""
    shuffled = replace(sample, nouns=tuple((n[order[0]], n[order[1]], n[order[2]]) for n in sample.nouns))
    assert chooser(nouns=True).choose(shuffled) == chooser(nouns=True).choose(sample)


@settings(max_examples=50, deadline=None)
@given(samples(VOCABULARY), st.sampled_from([(0, 0, 1), (2, 1, 2), (3, 4, 4), (5, 5, 5)]), st.integers(1, 12))
def test_the_wrong_nouns_are_the_k_nearest_to_what_all_annotators_said(
    sample: Sample, agreed: tuple[int, int, int], k: int
) -> None:
    """Worked out the long way: in whole numbers, sorting everything. What two said counts twice."""
    first, second, third = (list(GLOSSES)[i] for i in agreed)
    sample = replace(sample, nouns=((first, second, third), *sample.nouns[1:]))
    steps, index = np.rint(NOUN_VECTORS * np.float32(2048)).astype(int), VOCABULARY.noun_index
    pictures = [replace(sample, image=f"{n}.jpg") for n in range(40)]
    found = [chooser(k=k, nouns=True).choose(picture).nouns for picture in pictures]
    for role, nouns in zip(sample.roles, sample.nouns, strict=True):
        filled = [noun for noun in nouns if noun]
        true = [set(GLOSSES[noun][0].split()) for noun in filled]
        near = [sum(int(steps[index[noun]] @ steps[index[other]]) for other in filled) for noun in GLOSSES]
        ranked = sorted(zip(GLOSSES, near, strict=True), key=lambda pair: -pair[1])
        words = {noun: set(GLOSSES[noun][0].split()) for noun, _ in ranked}
        usable = [noun for noun, _ in ranked if not words[noun] & CATCH_ALL]
        apart = [n for n in usable if not any(words[n] <= t or t <= words[n] for t in true)]
        chosen = {contrast[role] for contrast in found if role in contrast}
        assert chosen <= set(apart[:k] if filled else [])
        if chosen or any(true_words - CATCH_ALL for true_words in true):
            assert len(chosen) > min(len(apart), k) / 2, "drawn from all of them"


def test_a_memory_that_is_full_changes_no_contrast(monkeypatch: pytest.MonkeyPatch) -> None:
    """It forgets, or a run over many pictures would need ever more memory."""
    nouns = [noun for noun, (gloss,) in GLOSSES.items() if gloss not in CATCH_ALL]
    pictures = [
        replace(jumping({"agent": noun, "place": other}), image=noun) for noun in nouns for other in nouns
    ]
    wide = chooser(nouns=True)
    expected = [wide.choose(picture) for picture in pictures]
    monkeypatch.setattr(contrast_module, "_POOLS_KEPT", 4)
    narrow = chooser(nouns=True)
    found = []
    for picture in pictures:
        found.append(narrow.choose(picture))
        assert len(narrow._pools) <= 4 + len(picture.roles)
    assert found == expected
    assert len(wide._pools) > 10


OTHER_GLOSSES = {**GLOSSES, "n00000003": ("pony",)}
OTHERS: dict[str, dict[str, Any]] = {
    "k": {"k": 4},
    "seed": {"seed": 1},
    "allowed": {"verb_counts": equally(VERBS[1:])},
    "verb_counts": {"verb_counts": {**equally(), "jumping": 2}},
    "role_nouns": {"role_nouns": {**NOUNS, "agent": use(list(GLOSSES)[1:])}},
    "noun counts": {"role_nouns": {**NOUNS, "agent": RoleUse({**NOUNS["agent"].nouns, "n00000001": 2}, {})}},
    "fillings": {"role_nouns": {**NOUNS, "agent": RoleUse(NOUNS["agent"].nouns, {("n00000001",): 1})}},
    "verb_vectors": {"verb_vectors": VECTORS[::-1].copy()},
    "noun_vectors": {"noun_vectors": NOUN_VECTORS[::-1].copy()},
    "no noun_vectors": {"noun_vectors": None},
    "glosses": {"vocabulary": replace(VOCABULARY, glosses=OTHER_GLOSSES)},
    "noun order": {"vocabulary": replace(VOCABULARY, nouns=VOCABULARY.nouns[::-1])},
    "verb order": {"vocabulary": replace(VOCABULARY, verbs=VERBS[::-1])},
}


def identity(
    vocabulary: Vocabulary = VOCABULARY,
    verb_vectors: NDArray[np.float32] = VECTORS,
    verb_counts: dict[str, int] | None = None,
    role_nouns: dict[str, RoleUse] = NOUNS,
    k: int = 3,
    seed: int = 0,
    noun_vectors: NDArray[np.float32] | None = NOUN_VECTORS,
) -> str:
    counts = verb_counts or equally()
    return ContrastChooser(vocabulary, verb_vectors, counts, role_nouns, k, seed, noun_vectors).identity


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_whatever_decides_the_choices_is_in_the_identity(change: dict[str, Any]) -> None:
    assert identity(**change) != identity()


def test_the_same_inputs_have_one_identity() -> None:
    same = {role: use(GLOSSES) for role in reversed(NOUNS)}
    given = (VOCABULARY, VECTORS.copy(), equally(reversed(VERBS)), same, 3, 0, NOUN_VECTORS.copy())
    assert ContrastChooser(*given).identity == identity()


def test_one_allowed_verb_is_refused() -> None:
    with pytest.raises(UserError, match=r"1 of the verbs may serve as a contrast, at least 2 are needed"):
        chooser({"jumping"})


def test_nouns_count_by_most_annotators_word() -> None:
    (first, second), place = (jumping({"agent": noun}) for noun in ("n00000003", "n00000001")), "n00000011"
    split = replace(first, nouns=(("n00000004", "n00000003", "n00000003"), *first.nouns[1:]))
    found = count_nouns([split, second, jumping({"agent": "n00000001", "place": place})], VOCABULARY)
    assert found == {
        "agent": RoleUse(
            {"n00000001": 2, "n00000003": 1, "n00000004": 0},
            {("n00000001",) * 3: 2, ("n00000003", "n00000003", "n00000004"): 1},
        ),
        "place": RoleUse({place: 1}, {(place,) * 3: 1}),
    }


@pytest.mark.parametrize("with_vectors", [False, True])
def test_wrong_verbs_and_nouns_are_as_frequent_as_true_ones(with_vectors: bool) -> None:
    """Drawn evenly, the rare ones would come four times too often and give every negative away."""
    verbs = ("diving", "swimming", "building", "juggling")  # each with an agent
    agents = ("n00000001", "n00000002", "n00000003", "n00000005", "n00000006", "n00000009")
    pictures = []
    for number in range(3000):
        verb = verbs[(0, 0, 0, 1, 1, 2, 2, 3)[number % 8]]
        agent = agents[(0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5)[number % 11]]
        pictures.append(
            replace(jumping(), image=f"{number}.jpg", verb=verb, roles=("agent",), nouns=((agent,) * 3,),
                    boxes=(None,))
        )  # fmt: skip
    counts = Counter(picture.verb for picture in pictures)
    choice = ContrastChooser(
        VOCABULARY,
        VECTORS,
        counts,
        count_nouns(pictures, VOCABULARY),
        5,
        0,
        NOUN_VECTORS if with_vectors else None,
    )
    contrasts = [choice.choose(picture) for picture in pictures]
    wrong_verbs = Counter(contrast.verb for contrast in contrasts)
    for verb in verbs:
        assert wrong_verbs[verb] == pytest.approx(counts[verb], rel=0.1)
    true = Counter(picture.nouns[0][0] for picture in pictures)
    wrong = Counter(contrast.nouns["agent"] for contrast in contrasts)
    for agent in agents if with_vectors else ():
        assert wrong[agent] == pytest.approx(true[agent], rel=0.15)
    assert wrong[agents[0]] > 1.5 * wrong[agents[-1]]


def test_a_noun_that_is_nowhere_most_annotators_word_is_wrong_where_there_is_no_other() -> None:
    never, often = "n00000005", "n00000003"
    for counts, expected in (({often: 9, never: 0}, often), ({never: 0}, never)):
        choice = ContrastChooser(
            VOCABULARY, VECTORS, equally(), {"agent": RoleUse(counts, {})}, 3, 0, NOUN_VECTORS
        )
        for number in range(20):
            sample = replace(jumping({"agent": "n00000001"}), image=f"{number}.jpg")
            assert choice.choose(sample).nouns["agent"] == expected
