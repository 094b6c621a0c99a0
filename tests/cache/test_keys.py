"""Fingerprints and derived numbers: equal for equal values, and the same for all time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.keys import canonical, derive_number, digest_bytes, digest_file, fingerprint

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
NAMES = st.text(max_size=4)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=5)
OBJECTS = st.dictionaries(NAMES, LEAVES, max_size=6)

FINGERPRINT = "4080e627edebf5200f0ff25b11af4621"
DIGEST = "a010c1876fb4e2e241155337513f3995"
VECTOR_ID = 7255148902103550593
SEED = 985983209


@given(VALUES)
def test_a_canonical_value_reads_back_as_itself(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@given(OBJECTS.flatmap(lambda value: st.tuples(st.just(value), st.permutations(list(value.items())))))
def test_key_order_does_not_matter(pair: tuple[dict[str, Any], list[tuple[str, Any]]]) -> None:
    value, items = pair
    assert canonical({"nested": dict(items)}) == canonical({"nested": value})


@given(VALUES, VALUES)
def test_different_values_have_different_fingerprints(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (canonical(one) == canonical(other))


def test_item_order_matters() -> None:
    assert fingerprint(["a", "b"]) != fingerprint(["b", "a"])
    assert fingerprint(["ab", ""]) != fingerprint(["a", "b"])


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_hold_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint({"score": number})


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    """Around the size of one piece that is read at a time."""
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / "file").write_bytes(data)
    assert digest_file(tmp_path / "file") == digest_bytes(data)


@given(st.lists(st.text() | st.integers()), st.integers(1, 63))
def test_a_derived_number_stays_in_its_range(parts: list[Any], bits: int) -> None:
    number = derive_number(*parts, bits=bits)
    assert 0 <= number < 2**bits
    assert number == derive_number(*parts, bits=63) >> (63 - bits)


def test_derived_numbers_fill_their_range() -> None:
    assert {derive_number(i, bits=3) for i in range(200)} == set(range(8))


def test_keys_are_fixed_for_all_time() -> None:
    """Stores of older releases must keep their keys, vector ids and seeds."""
    assert canonical({"b": [1, 2.5, None], "a": "ž"}) == '{"a":"ž","b":[1,2.5,null]}'.encode()
    assert fingerprint({"b": [1, 2.5, None], "a": "ž"}) == FINGERPRINT
    assert digest_bytes(b"mipd") == DIGEST
    assert derive_number("vector", "jumping_1.jpg", "gaze", "positive") == VECTOR_ID
    assert derive_number("seed", 0, bits=31) == SEED
