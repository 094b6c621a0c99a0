"""Which pictures of a batch a process computes, and in how many parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cache.errors import UserError
from stages.student.settings import LossSettings, StudentSettings, TrainSettings


def own_parts(rows: Sequence[int], rank: int, ranks: int, parts: int) -> list[list[int]]:
    """What a process computes of a batch, in parts that go backward one after the other.

    rows   of the whole batch; they are shared out evenly, in their order
    parts  at most so many; fewer where there are not enough rows, and none where other processes take all
    """
    places = np.array_split(np.asarray(rows, dtype=np.int64), ranks * parts)
    own: list[list[int]] = [some.tolist() for some in places[rank * parts : (rank + 1) * parts]]
    return [some for some in own if some]


def refuse_parts(
    settings: TrainSettings, student: StudentSettings, losses: LossSettings, processes: int
) -> None:
    """Raises UserError where a step cannot be taken in parts, or not in so many."""
    parts = processes * settings.accumulate
    if settings.batch_size < parts:
        raise UserError(
            f"train.batch_size {settings.batch_size} is to be shared by {processes} processes in "
            f"{settings.accumulate} parts each, {parts} in all: set it to {parts} or more, or start fewer"
        )
    compares = losses.contrast == "infonce" and student.distill and student.negatives
    if parts > 1 and compares and not student.as_released:
        raise UserError(
            f"losses.contrast 'infonce' compares the pictures of a batch with each other, so in {parts} "
            "parts the loss would be another: train in one process with train.accumulate 1, or set "
            "losses.contrast to 'hinge'"
        )
