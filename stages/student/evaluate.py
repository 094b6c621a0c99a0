"""Runs a student over a split and scores it. Needs the student's bank alone: no teacher, no rationale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from stages.batches import batches
from stages.data.geometry import Geometry
from stages.data.sample import MAX_ROLES, Sample
from stages.data.vocabulary import OOV, PAD, Vocabulary
from stages.student.batch import Batch
from stages.student.boxes import to_corners
from stages.student.data_order import load
from stages.student.dataset import StoreDataset
from stages.student.labels import LabelVectors
from stages.student.metrics import PictureResults
from stages.student.model import Student
from stages.student.scoring import Prediction, Truth, score

TOP = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """results: what was right in each picture; predictions: one row per picture, what was said."""

    results: PictureResults
    predictions: pl.DataFrame


@torch.no_grad()
def evaluate(
    student: Student,
    labels: LabelVectors,
    dataset: StoreDataset,
    vocabulary: Vocabulary,
    batch_size: int,
    device: torch.device,
    workers: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """All verbs of `labels` are candidates, seen or not. The student is left in the mode it came in.

    `dataset` must not be empty.
    """
    assert len(dataset), "an empty split has no figures"
    was_training = student.training
    student.eval()
    never_right = [vocabulary.noun_index[name] for name in (OOV, PAD)]
    rows = [list(part) for part in batches(range(len(dataset)), batch_size)]
    results: list[PictureResults] = []
    said: list[dict[str, Any]] = []
    for chosen, batch in zip(rows, load(dataset, rows, workers), strict=True):
        samples = [dataset.samples[row] for row in chosen]
        predicted = predict_batch(student, labels, batch.to(device), samples, dataset.geometry)
        results.append(score(batch.images, predicted, _truth(batch, samples), never_right))
        said += _rows(samples, predicted, vocabulary)
        advance(len(samples))
    student.train(was_training)
    return Evaluation(PictureResults.join(results), pl.DataFrame(said, schema=PREDICTION_SCHEMA))


def predict_batch(
    student: Student, labels: LabelVectors, batch: Batch, samples: list[Sample], geometry: Geometry
) -> Prediction:
    """What the student says of each picture, its roles being those of the annotated verb; on the CPU."""
    seen = student(batch.vision, labels)
    situation = student.situate_verbs(seen.memory, labels, batch.verb)
    framed = to_corners(situation.boxes).cpu()
    return Prediction(
        verb_logits=seen.verb_logits.float().cpu(),
        nouns=situation.noun_logits.argmax(dim=-1).cpu(),
        boxes=_in_pixels(framed, samples, geometry),
        has_box=(situation.box_logits >= 0).cpu(),
    )


def _in_pixels(framed: Tensor, samples: list[Sample], geometry: Geometry) -> Tensor:
    """Boxes in frame coordinates [B, R, 4] -> pixels of each sample's picture."""
    return torch.tensor(
        [
            [geometry.box_to_picture(box, sample.width, sample.height) for box in boxes]
            for boxes, sample in zip(framed.tolist(), samples, strict=True)
        ]
    )


def _truth(batch: Batch, samples: list[Sample]) -> Truth:
    """Boxes are the annotated ones in pixels, also where the student's frame cuts them off."""
    boxes, has_box = torch.zeros(len(samples), MAX_ROLES, 4), torch.zeros(len(samples), MAX_ROLES)
    for i, sample in enumerate(samples):
        for role, box in enumerate(sample.boxes):
            if box is not None:
                boxes[i, role], has_box[i, role] = torch.tensor(box), 1
    return Truth(
        verb=batch.verb,
        role_mask=batch.role_mask,
        nouns=batch.nouns,
        boxes=boxes,
        has_box=has_box.bool(),
    )


PREDICTION_SCHEMA: dict[str, pl.DataType] = {
    "image": pl.String(),
    "split": pl.String(),
    "verb": pl.String(),
    "top_verbs": pl.List(pl.String),
    "top_probabilities": pl.List(pl.Float32),
    "roles": pl.List(pl.String),
    "nouns": pl.List(pl.String),
    "boxes": pl.List(pl.List(pl.Float32)),  # x1 y1 x2 y2 in pixels; null where the student says none
}


def _rows(samples: list[Sample], predicted: Prediction, vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    probabilities = predicted.verb_logits.softmax(dim=-1)
    top = probabilities.topk(min(TOP, probabilities.shape[1]), dim=-1)
    for i, sample in enumerate(samples):
        count = len(sample.roles)
        yield {
            "image": sample.image,
            "split": sample.split,
            "verb": sample.verb,
            "top_verbs": [vocabulary.verbs[verb] for verb in top.indices[i].tolist()],
            "top_probabilities": top.values[i].tolist(),
            "roles": list(sample.roles),
            "nouns": [vocabulary.nouns[noun] for noun in predicted.nouns[i, :count].tolist()],
            "boxes": [
                box if there else None
                for box, there in zip(
                    predicted.boxes[i, :count].tolist(), predicted.has_box[i, :count].tolist(), strict=True
                )
            ],
        }
