from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from stages.data.splits import frequency_subsets, listed_subsets, read_verb_list, share_of

COUNTS = Path(__file__).parents[2].parent / "shared" / "swig" / "verb_image_counts.json"
VERBS = ("jumping", "riding", "sleeping", "cooking")

counts = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 9), max_size=40)
hundredths = st.integers(0, 49)


@given(counts, hundredths, hundredths, st.randoms())
def test_the_fewest_pictures_are_unseen_then_rare_then_seen(
    verbs: dict[str, int], unseen: int, rare: int, random: object
) -> None:
    subsets = frequency_subsets(verbs, unseen / 100, rare / 100)
    assert list(subsets) == list(verbs)
    sizes = Counter(subsets.values())
    assert sizes["unseen"] == len(verbs) * Fraction(unseen, 100) // 1
    assert sizes["rare"] == len(verbs) * Fraction(rare, 100) // 1
    rank = {"unseen": 0, "rare": 1, "seen": 2}
    ordered = sorted(verbs, key=lambda verb: (verbs[verb], verb))
    assert [rank[subsets[verb]] for verb in ordered] == sorted(rank[s] for s in subsets.values())
    shuffled = list(verbs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert frequency_subsets({verb: verbs[verb] for verb in shuffled}, unseen / 100, rare / 100) == subsets


def test_ties_are_broken_by_name_and_verbs_without_pictures_count() -> None:
    assert frequency_subsets({"d": 1, "c": 1, "b": 0, "a": 5}, 0.5, 0.25) == {
        "d": "rare", "c": "unseen", "b": "unseen", "a": "seen",
    }  # fmt: skip


def test_a_share_is_exact_where_a_float_product_is_not() -> None:
    assert 100 * 0.29 < 29
    assert share_of(100, 0.29) == 29
    assert share_of(504, 0.1) == 50


@pytest.mark.skipif(not COUNTS.is_file(), reason="the counts of SWiG's training pictures are not at hand")
def test_swig_at_ten_percent_has_fifty_unseen_and_fifty_rare_verbs() -> None:
    train = {verb: split["train"] for verb, split in json.loads(COUNTS.read_text()).items()}
    subsets = frequency_subsets(train, 0.10, 0.10)
    by_subset = {s: {train[v] for v in train if subsets[v] == s} for s in ("unseen", "rare", "seen")}
    assert Counter(subsets.values()) == {"seen": 404, "unseen": 50, "rare": 50}
    assert max(by_subset["unseen"]) <= min(by_subset["rare"])
    assert max(by_subset["rare"]) <= min(by_subset["seen"])


def test_a_list_names_unseen_and_rare_verbs() -> None:
    assert listed_subsets(VERBS, ["cooking"], ["riding"], "list.yaml") == {
        "jumping": "seen", "riding": "rare", "sleeping": "seen", "cooking": "unseen",
    }  # fmt: skip


def test_an_unknown_verb_in_a_list_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        listed_subsets(VERBS, ["rideing"], [], "list.yaml")
    assert str(caught.value) == (
        "list.yaml: 'rideing' is not one of the data set's 4 verbs; the nearest known is 'riding'; "
        "correct the name, or remove it"
    )


def test_a_verb_in_both_lists_is_refused() -> None:
    with pytest.raises(UserError, match=r"list.yaml: 'riding' is both unseen and rare \(2 such verbs\)"):
        listed_subsets(VERBS, ["riding", "sleeping"], ["sleeping", "riding"], "list.yaml")


@pytest.mark.parametrize(
    "text", ['{"unseen": ["cooking"], "rare": ["riding"]}', "unseen: [cooking]\nrare:\n- riding\n"]
)
def test_a_list_may_be_json_or_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "verbs.yaml"
    path.write_text(text)
    found = read_verb_list(path)
    assert (found.unseen, found.rare) == (("cooking",), ("riding",))


def test_a_list_may_leave_one_subset_out(tmp_path: Path) -> None:
    path = tmp_path / "verbs.yaml"
    path.write_text("unseen: [cooking]")
    assert read_verb_list(path).rare == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "verbs.yaml: empty file (0 bytes); expected two lists of verbs"),
        ("unseen: [", "verbs.yaml: not YAML or JSON (while parsing a flow node"),
        ("- cooking", "verbs.yaml: holds ['cooking']; expected two lists of verbs"),
        ("unsen: [cooking]", "verbs.yaml: unknown key 'unsen'; the nearest known is 'unseen'"),
        ("unseen: cooking", "verbs.yaml: 'unseen' is 'cooking'; expected a list of verbs"),
        ("rare: [1]", "verbs.yaml: 'rare' holds 1; expected the name of a verb"),
        (
            "unseen: !!python/object:os.system {}",
            "verbs.yaml: not YAML or JSON (could not determine a constructor",
        ),
    ],
)
def test_a_broken_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "verbs.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_verb_list(path)
    assert message in str(caught.value)
