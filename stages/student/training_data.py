"""What a training run reads, and the objective of the sizes that its banks have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from stages.data.sample import Subset
from stages.data.vocabulary import Vocabulary
from stages.student.network.alignment import Alignment
from stages.student.network.labels import LabelTexts, label_centres
from stages.student.network.model import Student
from stages.student.network.queries import role_numbers
from stages.student.network.released import ReleasedAlignment, ReleasedObjective
from stages.student.objective.objective import Objective
from stages.student.reading.dataset import StoreDataset
from stages.student.settings import LossSettings, StudentSettings


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What training reads.

    train        with the teacher's banks where distillation is on
    select       seen verbs of the dev set; the best checkpoint is chosen on them
    labels       text embeddings of the vocabulary
    fingerprint  of each thing a step depends on, by name; a resume with another one is refused
    proof        of `leakage.refuse_leaks`
    encoders     of pictures and of label texts, as whoever uses the student elsewhere must open them
    """

    train: StoreDataset
    select: StoreDataset
    labels: LabelTexts
    vocabulary: Vocabulary
    subset_of: Mapping[str, Subset]
    fingerprint: Mapping[str, str]
    proof: Mapping[str, Any]
    encoders: Mapping[str, Any] = field(default_factory=dict)


def build_objective(data: TrainingData, student: StudentSettings, losses: LossSettings) -> Objective:
    """Student and alignment of the sizes the banks have."""
    banks, train = data.train.teacher, data.train
    roles = role_numbers([data.vocabulary.frames[verb].roles for verb in data.vocabulary.verbs])
    vision_dim, label_dim = train.vision.header.shape[-1], data.labels.width
    model = Student(student, train.geometry, vision_dim, label_dim, len(data.labels.noun), roles)
    if student.centre_labels:
        model.label_centres.copy_(label_centres(data.labels, training_verbs(data)))
    kind, objective = (
        (ReleasedAlignment, ReleasedObjective) if student.as_released else (Alignment, Objective)
    )
    alignment = None
    if banks is not None:
        dims = banks.vision.header.shape[-1], banks.text.header.shape[-1]
        alignment = kind(student, banks.geometry, *dims)
    return objective(model, alignment, losses)


def training_verbs(data: TrainingData) -> torch.Tensor:
    """[V] bool: verbs that are not held out. The only candidates of the training softmax."""
    return torch.tensor([data.subset_of[verb] != "unseen" for verb in data.vocabulary.verbs])
