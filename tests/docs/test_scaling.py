"""The arithmetic of docs/scaling.md is what the code that lays out banks and indexes works out."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.bank_header import BankHeader
from cache.codec import StorageType
from cache.compact import ROWS_PER_PART
from cache.index_plan import IndexWish, plan_index

TEXT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
PICTURES = 10_000_000
PAGE, PAGE_HEADER = 4096, 16
BANKS = {
    "teacher-vision": ((257, 1408), False),
    "student-vision": ((577, 1024), False),
    "rationale-text": ((4, 77, 768), True),
}
STORED: dict[StorageType, str] = {"bf16": "2,383,872", "int8": "1,200,128"}


def row_bytes(bank: str, storage: StorageType) -> int:
    shape, masked = BANKS[bank]
    return BankHeader(bank, storage, shape, masked, None, {}).row_bytes


def on_disk(bank: str, storage: StorageType) -> int:
    return -(-(row_bytes(bank, storage) + PAGE_HEADER) // PAGE) * PAGE


@pytest.mark.parametrize("bank", BANKS)
def test_the_bytes_of_a_row_are_those_of_the_code(bank: str) -> None:
    (line,) = (line for line in TEXT.splitlines() if line.startswith(f"| `{bank}`"))
    numbers = [f"{count(bank, kind):,}" for kind in ("bf16", "int8") for count in (row_bytes, on_disk)]
    assert line.endswith(f"| {' | '.join(numbers)} |")


@pytest.mark.parametrize(("storage", "terabytes"), [("bf16", "23.8 TB"), ("int8", "12.0 TB")])
def test_the_store_of_ten_million_pictures_follows(storage: StorageType, terabytes: str) -> None:
    total = sum(on_disk(bank, storage) for bank in BANKS)
    assert f"{total:,}" == STORED[storage]
    assert STORED[storage] in TEXT
    assert f"{total * PICTURES / 1e12:.1f} TB" == terabytes
    assert terabytes in TEXT
    assert f"{1e9 / total:.0f}" in TEXT  # pictures a second from 1 GB/s
    assert f"{total * PICTURES / 1e9 / 3600:.1f}" in TEXT  # hours of an epoch


def test_shards_and_parts_are_as_many_as_it_says() -> None:
    assert f"{-(-PICTURES // 1024):,} shards" in TEXT
    assert f"`16384` makes {-(-PICTURES // 16384)}" in TEXT
    assert f"{ROWS_PER_PART:,}\nrows into {-(-4 * PICTURES // ROWS_PER_PART):,}" in TEXT
    sizes = [f"{16384 * on_disk(bank, 'bf16') / 1e9:.1f}" for bank in BANKS]
    assert "{}, {} and {} GB".format(*sizes) in TEXT


@pytest.mark.parametrize(("name", "count", "width"), [("pictures", 1, 1024), ("rationales", 4, 768)])
@pytest.mark.parametrize("quantise", [0, 64])
def test_indexes_take_what_the_plan_says(name: str, count: int, width: int, quantise: int) -> None:
    plan = plan_index(count * PICTURES, width, IndexWish(quantise=quantise))
    kind = f"`embed.index.quantise: {quantise}`" if quantise else "whole vectors"
    start = f"| {name}, {kind} | {count * PICTURES:,} x {width} | {plan.lists:,} |"
    (line,) = (line for line in TEXT.splitlines() if line.startswith(start))
    told = [float(cell.removesuffix(" GB ")) for cell in line.split("|")[4:6]]
    assert told == pytest.approx([plan.file_bytes / 1e9, plan.build_bytes / 1e9], rel=0.01)
