"""The figure that the best checkpoint of a run is chosen by, on pictures of seen verbs alone."""

from __future__ import annotations

import torch

from stages.student.measuring.evaluate import evaluate
from stages.student.measuring.metrics import selection_figure, summarise
from stages.student.network.labels import LabelVectors
from stages.student.network.model import Student
from stages.student.settings import TrainSettings
from stages.student.training.precision import Precision
from stages.student.training_data import TrainingData


def figure_on_dev(
    student: Student,
    labels: LabelVectors,
    data: TrainingData,
    settings: TrainSettings,
    device: torch.device,
    precision: Precision,
) -> float | None:
    """`train.select` of the student as it is, in percent.

    None where the dev set has no picture of a seen verb: then the last epoch counts as the best.
    """
    if not len(data.select):
        return None
    batch = settings.batch_size
    evaluation = evaluate(student, labels, data.select, data.vocabulary, batch, device, precision=precision)
    subsets = [data.subset_of[verb] for verb in data.vocabulary.verbs]
    metrics = summarise(evaluation.results, subsets, "dev")
    return selection_figure(metrics, "seen", settings.select)
