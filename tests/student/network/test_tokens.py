"""Stored rows become tensors of the same numbers, in the bank's own number format."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.bank_reader import BankReader
from cache.codec import STORAGE_TYPES, StorageType
from stages.student.network.tokens import to_tensor
from tests.cache.small_store import VISION, bank_header, empty_store, noise, write_shard

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.float32}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(STORAGE_TYPES), st.lists(st.integers(1, 30), min_size=2, max_size=3).map(tuple))
def test_a_tensor_holds_the_numbers_that_one_row_at_a_time_gives(
    storage: StorageType, shape: tuple[int, ...]
) -> None:
    """To the bit, so that training computes what it computed from float32 rows."""
    with TemporaryDirectory() as folder:
        store = empty_store(Path(folder))
        rows = {f"{i}.jpg": noise(*shape, seed=i) * 10.0 ** (i - 3) for i in range(6)}
        write_shard(store, bank_header(storage=storage, shape=shape), rows)
        reader = BankReader(store, VISION)
        tensor = to_tensor(reader.read_batch(list(rows)))
        assert tensor.dtype == TYPES[storage]
        assert tensor.shape == (6, *shape)
        for row, image in zip(tensor, rows, strict=True):
            assert row.float().numpy().tobytes() == reader.read(image).tokens.tobytes()
        reader.close()


@pytest.mark.parametrize("storage", ["fp32", "bf16", "fp16"])
def test_the_numbers_are_not_copied(tmp_path: Path, storage: StorageType) -> None:
    store = empty_store(tmp_path)
    write_shard(store, bank_header(storage=storage), {"a.jpg": noise(3, 8)})
    rows = BankReader(store, VISION).read_batch(["a.jpg"])
    assert to_tensor(rows).data_ptr() == rows.values.__array_interface__["data"][0]
