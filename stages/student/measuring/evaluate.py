"""Runs a student over a split and scores it. Needs the student's bank alone: no teacher, no rationale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.batches import batches
from stages.data.geometry import Geometry
from stages.data.sample import MAX_ROLES, Sample
from stages.data.vocabulary import OOV, PAD, Vocabulary
from stages.student.measuring.metrics import PictureResults
from stages.student.measuring.prediction_file import PREDICTION_SCHEMA
from stages.student.measuring.scoring import Prediction, Truth, score
from stages.student.network.boxes import to_corners
from stages.student.network.labels import LabelVectors
from stages.student.network.noun_scores import noun_scores
from stages.student.network.recogniser import Recogniser
from stages.student.reading.batch import Batch
from stages.student.reading.data_order import load
from stages.student.reading.dataset import StoreDataset
from stages.student.training.precision import Precision, computing

TOP = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """results: what was right in each picture; predictions: one row per picture, what was said."""

    results: PictureResults
    predictions: pl.DataFrame


@torch.no_grad()
def evaluate(
    student: Recogniser,
    labels: LabelVectors,
    dataset: StoreDataset,
    vocabulary: Vocabulary,
    batch_size: int,
    device: torch.device,
    workers: int = 0,
    advance: Callable[[int], None] = lambda _: None,
    precision: Precision = "fp32",
    open_nouns: float = 0.0,
) -> Evaluation:
    """All verbs of `labels` are candidates, seen or not. The student is left in the mode it came in.

    open_nouns  see `EvaluationSettings.open_nouns`; the nouns of `labels` must then be the noun classes

    `dataset` must not be empty. Verbs, nouns and boxes are computed in fp32 whatever `precision` says.
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
        with computing(device, precision):
            predicted = predict_batch(
                student, labels, batch.to(device), samples, dataset.geometry, open_nouns
            )
        scored = score(batch.images, predicted, _truth(batch, samples), never_right)
        results.append(scored)
        said += _rows(samples, predicted, scored, vocabulary)
        advance(len(samples))
    student.train(was_training)
    return Evaluation(PictureResults.join(results), pl.DataFrame(said, schema=PREDICTION_SCHEMA))


@torch.no_grad()
def verb_logits(
    student: Recogniser, labels: LabelVectors, dataset: StoreDataset, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[M, V] logits and [M] annotated verbs of a data set that is not empty, on the CPU."""
    was_training = student.training
    student.eval()
    rows = [list(part) for part in batches(range(len(dataset)), batch_size)]
    logits, verbs = [], []
    for batch in load(dataset, rows, 0):
        logits.append(student(batch.vision.to(device), labels).verb_logits.float().cpu())
        verbs.append(batch.verb)
    student.train(was_training)
    return torch.cat(logits), torch.cat(verbs)


def predict_batch(
    student: Recogniser,
    labels: LabelVectors,
    batch: Batch,
    samples: list[Sample],
    geometry: Geometry,
    open_nouns: float = 0.0,
) -> Prediction:
    """What the student says of each picture, its roles being those of the annotated verb; on the CPU."""
    seen = student(batch.vision, labels)
    situation = student.situate_verbs(seen.memory, labels, batch.verb)
    framed = to_corners(situation.boxes).cpu()
    nouns = noun_scores(situation.noun_logits, situation.open_logits, open_nouns)
    return Prediction(
        verb_logits=seen.verb_logits.float().cpu(),
        nouns=nouns.argmax(dim=-1).cpu(),
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


def _rows(
    samples: list[Sample], predicted: Prediction, scored: PictureResults, vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    top = top_verbs(predicted.verb_logits, scored.verb)
    probabilities = predicted.verb_logits.softmax(dim=-1).gather(1, top)
    for i, sample in enumerate(samples):
        count = len(sample.roles)
        yield {
            "image": sample.image,
            "split": sample.split,
            "verb": sample.verb,
            "rank": scored.rank[i],
            "top_verbs": [vocabulary.verbs[verb] for verb in top[i].tolist()],
            "top_probabilities": probabilities[i].tolist(),
            "roles": list(sample.roles),
            "nouns": [vocabulary.nouns[noun] for noun in predicted.nouns[i, :count].tolist()],
            "noun_right": scored.noun_right[i, :count].tolist(),
            "boxes": [
                box if there else None
                for box, there in zip(
                    predicted.boxes[i, :count].tolist(), predicted.has_box[i, :count].tolist(), strict=True
                )
            ],
            "ground_right": scored.ground_right[i, :count].tolist(),
        }


def top_verbs(logits: Tensor, verb: NDArray[np.int64]) -> Tensor:
    """[B, V] and [B] -> [B, 5] the most probable verbs; fewer where there are fewer.

    Among equals the annotated one comes last, as in `scoring.rank_of`.
    """
    annotated = np.arange(logits.shape[1]) == verb[:, None]
    order = np.lexsort((annotated, -logits.numpy()), axis=-1)
    return torch.from_numpy(order[:, :TOP].copy())
