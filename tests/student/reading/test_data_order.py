"""The batches of an epoch are a pure function of seed and epoch, however they are read."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cache.bank_header import BankHeader
from cache.codec import StorageType
from cache.errors import UserError
from cache.manifest import load_manifest
from cache.paths import StorePaths
from stages.student.reading.batch import Batch, TeacherTargets
from stages.student.reading.data_order import epoch_batches, load
from stages.student.reading.dataset import StoreDataset
from tests.cache.small_store import noise, write_shard
from tests.student.reading.joined import joined
from tests.student.store import GEOMETRY, TEXT, VISION, VOCABULARY, make_store, sample

IMAGES = tuple(f"{i}.jpg" for i in range(23))


def tensors(batch: Batch) -> dict[str, Tensor]:
    records: list[Batch | TeacherTargets] = [batch, *([batch.teacher] if batch.teacher else [])]
    return {
        f"{type(record).__name__}.{field.name}": value
        for record in records
        for field in fields(record)
        if isinstance(value := getattr(record, field.name), Tensor)
    }


def same(one: Batch, other: Batch) -> bool:
    a, b = tensors(one), tensors(other)
    return one.images == other.images and a.keys() == b.keys() and all(a[n].equal(b[n]) for n in a)


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """A bank of every storage type but fp16; some pictures without a rationale."""
    paths = make_store(tmp_path, IMAGES, IMAGES[::2])
    rows = {image: noise(5, VISION, seed=image) for image in IMAGES}
    kinds: list[tuple[str, StorageType]] = [("student-vision", "bf16"), ("teacher-vision", "int8")]
    for name, storage in kinds:
        write_shard(paths, BankHeader(name, storage, (5, VISION), False, GEOMETRY.to_json(), {}), rows)
    return paths


def dataset(store: StorePaths, teacher: bool = True) -> StoreDataset:
    samples = [sample(image, box=(20.0, 10.0, 120.0, 60.0)) for image in IMAGES]
    return StoreDataset(store, samples, VOCABULARY, teacher=teacher)


@pytest.mark.parametrize("teacher", [True, False])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_reading_ahead_gives_what_reading_gives(store: StorePaths, workers: int, teacher: bool) -> None:
    """In threads and in processes, and kept until the epoch's end."""
    data = dataset(store, teacher)
    rows = epoch_batches(data, 4, seed=3, epoch=1)
    expected = [joined([data[row] for row in some]) for some in rows]
    found = list(load(data, rows, workers))
    assert len(found) == len(expected) == 6
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))
    if teacher:
        assert found[0].teacher is not None
        assert found[0].vision.dtype == torch.bfloat16
        assert found[0].teacher.text.shape[1:] == (4, 3, TEXT)


def test_a_resume_in_the_middle_goes_on_with_the_same_batches(store: StorePaths) -> None:
    data = dataset(store)
    rows = epoch_batches(data, 4, seed=3, epoch=2)
    whole, rest = list(load(data, rows, 0)), list(load(dataset(store), rows[3:], 0))
    assert all(same(one, other) for one, other in zip(whole[3:], rest, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_draws_no_random_number(store: StorePaths, workers: int) -> None:
    """Or the dropout of a resumed run would be another one."""
    data = dataset(store)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(load(data, epoch_batches(data, 4, seed=3, epoch=0), workers))
    assert torch.get_rng_state().equal(before)


def test_two_epochs_of_one_dataset_may_be_read_at_once(store: StorePaths) -> None:
    data = dataset(store)
    first, second = (epoch_batches(data, 4, seed=0, epoch=epoch) for epoch in (0, 1))
    pairs = list(zip(load(data, first, 0), load(data, second, 0), strict=True))
    assert all(same(batch, data.read(rows)) for (batch, _), rows in zip(pairs, first, strict=True))
    assert all(same(batch, data.read(rows)) for (_, batch), rows in zip(pairs, second, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_named_where_its_batch_would_come(store: StorePaths, workers: int) -> None:
    data = dataset(store)
    rows = [list(some) for some in ([0, 1], [2, 3], [4, 5])]
    shard = store.root / load_manifest(store).in_force("bank", "teacher-vision")[0].path
    shard.write_bytes(shard.read_bytes()[:9000])
    with pytest.raises(UserError, match=f"bank shard {shard} cannot be read"):
        list(load(data, rows, workers))
