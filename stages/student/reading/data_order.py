"""Batches of an epoch, in an order that a pure function decides and a resume can enter anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from cache.order import balanced_rows, coins, permutation
from stages.batches import batches
from stages.student.reading.batch import Batch
from stages.student.reading.dataset import StoreDataset
from stages.student.reading.read_ahead import read_ahead


def epoch_batches(
    dataset: StoreDataset, size: int, seed: int, epoch: int, balance: float = 0.0
) -> list[list[int]]:
    """Rows of each batch of one epoch; the last batch is shorter where it does not come out even.

    balance  how far the verbs are evened out, see `TrainSettings.balance`

    Where the dataset has mirrored views, about half of the pictures come mirrored, others in every epoch.
    """
    order = _order(dataset, seed, epoch, balance)
    if dataset.mirrored:
        order = order + len(dataset) * coins(len(dataset), seed, epoch)[order]
    return [list(rows) for rows in batches(order.tolist(), size)]


def _order(dataset: StoreDataset, seed: int, epoch: int, balance: float) -> NDArray[np.int64]:
    if not balance:
        return permutation(len(dataset), seed, epoch)
    numbers: dict[str, int] = {}
    verbs = [numbers.setdefault(sample.verb, len(numbers)) for sample in dataset.samples]
    return balanced_rows(verbs, balance, seed, epoch)


def load(dataset: StoreDataset, rows: list[list[int]], workers: int) -> Iterator[Batch]:
    """Reads the given batches in order, ahead of whoever takes them.

    workers   processes that read; 0 reads in threads of this one, which spares a copy from process to process
    """
    return _load_in_processes(dataset, rows, workers) if workers else read_ahead(dataset.read, rows)


def _load_in_processes(dataset: StoreDataset, rows: list[list[int]], workers: int) -> Iterator[Batch]:
    # A loader draws a number when it starts; from a generator of its own, or it would shift the dropout of
    # everything after it and a resumed run would differ.
    loader = DataLoader(
        _Batches(dataset, rows),
        batch_size=None,
        shuffle=False,
        collate_fn=_unchanged,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
        persistent_workers=False,
    )
    yield from loader


class _Batches(Dataset[Batch]):
    """The batches of an epoch by number: a worker process reads a whole one at once."""

    def __init__(self, dataset: StoreDataset, rows: list[list[int]]) -> None:
        self._dataset, self._rows = dataset, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Batch:
        return self._dataset.read(self._rows[number])


def _unchanged(batch: Any) -> Any:
    return batch
