from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from stages.student.reading.batch import Batch, TeacherTargets


def joined(batches: Sequence[Batch]) -> Batch:
    """Several batches as one, by way of nothing that reads a store."""
    teachers = [batch.teacher for batch in batches if batch.teacher]
    teacher = TeacherTargets(**_joined(teachers)) if teachers else None
    images = tuple(image for batch in batches for image in batch.images)
    return Batch(images=images, **_joined(batches), teacher=teacher)


def _joined(records: Sequence[Batch] | Sequence[TeacherTargets]) -> dict[str, Tensor]:
    names = [
        field.name for field in fields(records[0]) if isinstance(getattr(records[0], field.name), Tensor)
    ]
    return {name: torch.cat([getattr(record, name) for record in records]) for name in names}
