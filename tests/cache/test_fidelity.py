"""What a bank says of its nearness to fp32 is what its rows show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cache.bank_reader import BankReader
from cache.codec import STORAGE_TYPES, StorageType, decode, encode
from cache.fidelity import Fidelity, bank_fidelity, combine, token_cosines
from cache.manifest import Part, load_manifest
from tests.cache.small_store import VISION, bank_header, empty_store, noise, write_shard


@pytest.mark.parametrize("storage", STORAGE_TYPES)
def test_a_bank_tells_the_cosines_of_its_rows(tmp_path: Path, storage: StorageType) -> None:
    store = empty_store(tmp_path)
    rows = {f"{i}.jpg": noise(3, 50, seed=i) for i in range(20)}
    write_shard(store, bank_header(storage=storage, shape=(3, 50)), rows)
    reader = BankReader(store, VISION)
    stored = np.stack([reader.read(image).tokens for image in rows])
    given_ = np.stack(list(rows.values()))
    a, b = given_.astype(np.float64), stored.astype(np.float64)
    cosines = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    found = bank_fidelity(load_manifest(store), VISION)
    assert found is not None
    assert (found.rows, found.tokens) == (20, 60)
    assert found.mean_cosine == pytest.approx(cosines.mean(), abs=2e-9)
    assert found.worst_cosine == pytest.approx(cosines.min(), abs=2e-9)
    assert (found.worst_cosine == 1.0) == (storage == "fp32")


def test_a_large_shard_is_sampled_evenly(tmp_path: Path) -> None:
    """Beyond 64 rows: a bad one at the end is as likely to be seen as one at the start."""
    store = empty_store(tmp_path)
    rows = {f"{i:03d}.jpg": noise(3, 8, seed=i) for i in range(200)}
    write_shard(store, bank_header(storage="bf16"), rows)
    found = bank_fidelity(load_manifest(store), VISION)
    assert found is not None
    assert found.rows == 50
    assert found.tokens == 150


def test_tokens_beyond_the_true_length_do_not_count(tmp_path: Path) -> None:
    store = empty_store(tmp_path)
    rows = {f"{i}.jpg": noise(4, 5, 8, seed=i) for i in range(3)}
    write_shard(store, bank_header("t", "int8", (4, 5, 8), True), rows, lengths=[5, 0, 2, 1])
    found = bank_fidelity(load_manifest(store), "t")
    assert found is not None
    assert found.tokens == 3 * 8


def test_a_bank_of_zeros_tells_nothing(tmp_path: Path) -> None:
    store = empty_store(tmp_path)
    write_shard(store, bank_header(), {"a.jpg": np.zeros((3, 8), np.float32)})
    assert bank_fidelity(load_manifest(store), VISION) is None
    assert load_manifest(store).of("bank", VISION)[0].measured == {}


def test_a_token_that_is_lost_has_cosine_zero() -> None:
    token = np.array([[1e-45, 0.0], [0.0, 0.0], [1.0, 1.0]], np.float32)
    cosines = token_cosines(token, decode(encode(token, "int8"), token.shape, "int8"))
    assert cosines[0] == 0.0
    assert np.isnan(cosines[1])
    assert cosines[2] == pytest.approx(1.0)


@given(
    arrays(
        np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-(2.0**126), 2.0**126, width=32)
    )
)
def test_no_token_is_too_large_or_too_small_for_its_cosine(tokens: np.ndarray) -> None:
    cosines = token_cosines(tokens, tokens)
    there = np.abs(tokens).max(-1) > 0
    assert cosines[there] == pytest.approx(1.0)
    assert np.isnan(cosines[~there]).all()


def part(**told: float) -> Part:
    one = Part("p", "bank", "b", 1, 1, "", "", "", {})
    return replace(one, measured={"fidelity": told} if told else {})


def test_shards_count_by_their_tokens_and_the_worst_is_the_banks() -> None:
    shards = [
        part(rows=1, tokens=10, mean_cosine=0.9, worst_cosine=0.8),
        part(rows=3, tokens=30, mean_cosine=1.0, worst_cosine=0.95),
        part(),  # written before it was measured
    ]
    found = combine(shards)
    assert found is not None
    assert found.mean_cosine == pytest.approx(0.975)
    assert replace(found, mean_cosine=0.0) == Fidelity(4, 40, 0.0, 0.8)
    assert combine([part()]) is None
