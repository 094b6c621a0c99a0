"""Decides what a prediction got right, as SWiG's own evaluation does.

Axes: B pictures, V verbs, R roles, A annotators.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.student.measuring.metrics import PictureResults
from stages.student.network.boxes import iou

IOU_NEEDED = 0.5


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the student said.

    verb_logits  [B, V]
    nouns        [B, R] noun class for each role of the annotated verb
    boxes        [B, R, 4] x1 y1 x2 y2
    has_box      [B, R] bool, the student says that the role has a box
    """

    verb_logits: Tensor
    nouns: Tensor
    boxes: Tensor
    has_box: Tensor


@dataclass(frozen=True, slots=True)
class Truth:
    """What the annotators said; `boxes` in the frame of `Prediction.boxes`.

    SWiG compares in pixels of the picture. Any frame that only moves and stretches the picture gives the
    same overlap; one that cuts a part off (mode ``crop``) does not, so there boxes must be pixels.

    verb       [B]
    role_mask  [B, R] bool
    nouns      [B, R, A] noun classes
    boxes      [B, R, 4] x1 y1 x2 y2
    has_box    [B, R] bool
    """

    verb: Tensor
    role_mask: Tensor
    nouns: Tensor
    boxes: Tensor
    has_box: Tensor


def score(
    images: tuple[str, ...], predicted: Prediction, truth: Truth, never_right: Collection[int]
) -> PictureResults:
    """Judges a batch.

    never_right  noun classes that count as wrong whatever was annotated: `oov` and `Pad`. SWiG compares
                 WordNet ids, and no annotator wrote either. `blank` stands for an unfilled role, which an
                 annotator may well have left, so it can be right.

    A role's noun is right where any annotator gave it. Its grounding is right where both sides have a box
    and they overlap by at least half (IoU >= 0.5), or neither has one.
    """
    wrong = torch.tensor(sorted(never_right), device=predicted.nouns.device, dtype=predicted.nouns.dtype)
    given = (predicted.nouns[..., None] == truth.nouns).any(dim=-1)
    noun_right = given & ~torch.isin(predicted.nouns, wrong) & truth.role_mask
    overlap = iou(predicted.boxes, truth.boxes) >= IOU_NEEDED
    both = predicted.has_box & truth.has_box & overlap
    neither = ~predicted.has_box & ~truth.has_box
    return PictureResults(
        images=images,
        verb=_array(truth.verb),
        rank=_array(rank_of(predicted.verb_logits, truth.verb)),
        role_mask=_array(truth.role_mask),
        noun_right=_array(noun_right),
        ground_right=_array(noun_right & (both | neither)),
    )


def rank_of(logits: Tensor, verb: Tensor) -> Tensor:
    """[B, V] and [B] -> [B] how many other verbs are not below the annotated one.

    A tie counts against the student, and so does NaN: logits that are all equal are never right.
    """
    own = logits.gather(1, verb[:, None])
    return (~(logits < own)).sum(dim=1) - 1


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
