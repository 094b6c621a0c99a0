from __future__ import annotations

from stages.data.names import is_storable, nearest, short


def test_the_nearest_known_name_is_offered_where_one_is_near() -> None:
    assert nearest("jumpin", ["riding", "jumping"]) == "; the nearest known is 'jumping'"
    assert nearest("xyz", ["riding", "jumping"]) == ""
    assert nearest("j" * 10_000_000, ["riding", "jumping"]) == ""


def test_a_long_value_is_cut() -> None:
    assert short("abc") == "'abc'"
    assert short("a" * 100, limit=10) == "'aaaaaa..."


def test_half_a_surrogate_pair_cannot_be_stored() -> None:
    assert is_storable("é 😀")
    assert not is_storable("a\udfff")
