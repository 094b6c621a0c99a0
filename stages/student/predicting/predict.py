"""What a student says of pictures that nobody annotated: verbs, and for each what fills its roles and where.

Axes: B pictures, Q vision tokens, K verbs told of each picture, R roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.data.geometry import Geometry
from stages.data.sample import Box
from stages.data.vocabulary import BLANK, Vocabulary
from stages.student.network.boxes import to_corners
from stages.student.network.labels import LabelVectors
from stages.student.network.model import Recognition, Situation
from stages.student.network.noun_scores import noun_scores
from stages.student.network.recogniser import Recogniser


@dataclass(frozen=True, slots=True)
class FilledRole:
    """What fills a role.

    noun         WordNet id; "" where the student says that nothing fills the role
    gloss        the noun in words; "" likewise
    probability  of the noun among all noun classes
    box          x1 y1 x2 y2 in pixels of the picture as it is stored; None where the student says none
    """

    role: str
    noun: str
    gloss: str
    probability: float
    box: Box | None

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "noun": self.noun or None,
            "gloss": self.gloss or None,
            "probability": round(self.probability, 4),
            "box": self.box and [round(side, 1) for side in self.box],
        }


@dataclass(frozen=True, slots=True)
class PredictedVerb:
    """One verb, its probability among the verbs asked about, and its situation were it the right one."""

    verb: str
    probability: float
    roles: tuple[FilledRole, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "verb": self.verb,
            "probability": round(self.probability, 4),
            "roles": [role.to_json() for role in self.roles],
        }


class Predictor:
    """A student with the labels it is asked about.

    labels      of `vocabulary`, in the student's width
    geometry    of the frames that the tokens are of
    top         verbs told of each picture, at most as many as there are
    open_nouns  see `EvaluationSettings.open_nouns`
    """

    def __init__(
        self,
        student: Recogniser,
        labels: LabelVectors,
        vocabulary: Vocabulary,
        geometry: Geometry,
        device: torch.device,
        top: int,
        open_nouns: float = 0.0,
    ) -> None:
        self._student, self._labels, self._vocabulary = student, labels, vocabulary
        self._geometry, self._device = geometry, device
        self._top = min(top, len(vocabulary.verbs))
        self._open_nouns = open_nouns

    @torch.inference_mode()
    def predict(self, tokens: Tensor, sizes: Sequence[tuple[int, int]]) -> list[tuple[PredictedVerb, ...]]:
        """[B, Q, Ds] and each picture's width and height in pixels -> its K likeliest verbs, best first."""
        seen: Recognition = self._student(tokens.to(self._device), self._labels)
        best = seen.verb_logits.float().softmax(dim=-1).topk(self._top, dim=-1)
        # Rank by rank: all ranks at once would need each picture's memory K times.
        columns = [self._rank(seen.memory, verb, sizes) for verb in best.indices.unbind(dim=1)]
        names, shares = best.indices.tolist(), best.values.tolist()
        return [
            tuple(
                PredictedVerb(self._vocabulary.verbs[names[i][k]], shares[i][k], columns[k][i])
                for k in range(self._top)
            )
            for i in range(len(sizes))
        ]

    def _rank(
        self, memory: Tensor, verb: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[FilledRole, ...]]:
        """[B, Q, d] and [B] -> the filled roles of that verb in each picture."""
        said = self._student.situate_verbs(memory, self._labels, verb)
        scores = noun_scores(said.noun_logits, said.open_logits, self._open_nouns)
        nouns = scores.float().softmax(dim=-1).max(dim=-1)
        boxes = _boxes(said)
        classes, shares = nouns.indices.tolist(), nouns.values.tolist()
        return [
            tuple(
                self._filled(role, classes[i][r], shares[i][r], boxes[i][r], size)
                for r, role in enumerate(self._roles_of(row))
            )
            for i, (row, size) in enumerate(zip(verb.tolist(), sizes, strict=True))
        ]

    def _roles_of(self, row: int) -> tuple[str, ...]:
        return self._vocabulary.frames[self._vocabulary.verbs[row]].roles

    def _filled(
        self, role: str, number: int, probability: float, framed: Box | None, size: tuple[int, int]
    ) -> FilledRole:
        noun = self._vocabulary.nouns[number]
        box = framed and self._geometry.box_to_picture(framed, *size)
        filled = noun != BLANK
        return FilledRole(
            role, noun if filled else "", self._vocabulary.gloss(noun) if filled else "", probability, box
        )


def _boxes(said: Situation) -> list[list[Box | None]]:
    """[B][R] x1 y1 x2 y2 in 0..1 of the frame, None where the student says that there is no box."""
    corners, there = to_corners(said.boxes).tolist(), (said.box_logits >= 0).tolist()
    return [
        [tuple(box) if has else None for box, has in zip(*of_one, strict=True)]
        for of_one in zip(corners, there, strict=True)
    ]
