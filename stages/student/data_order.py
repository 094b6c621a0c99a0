"""Batches of an epoch, in an order that a pure function decides and a resume can enter anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from cache.order import permutation
from stages.batches import batches
from stages.student.batch import Batch
from stages.student.dataset import StoreDataset, collate


def epoch_batches(dataset: StoreDataset, size: int, seed: int, epoch: int) -> list[list[int]]:
    """Rows of each batch of one epoch; the last batch is shorter where it does not come out even."""
    order = permutation(len(dataset), seed, epoch).tolist()
    return [list(rows) for rows in batches(order, size)]


def load(dataset: StoreDataset, rows: list[list[int]], workers: int) -> Iterator[Batch]:
    """Reads the given batches in order."""
    # A loader draws a number when it starts; from a generator of its own, or it would shift the dropout of
    # everything after it and a resumed run would differ.
    loader = DataLoader(
        dataset,
        batch_sampler=rows,
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
        persistent_workers=False,
    )
    yield from loader
