"""How much of a batch each term of the objective is a mean over, known from its masks alone.

Axes: B pictures, R roles, K kinds of rationale.

A mean over a whole batch is not the mean of its parts' means: one part may have more boxes than another. So a
part's mean is multiplied by its own count over the whole batch's, and the parts' terms are then added; their
gradients add up to the whole batch's in the same way. The counts of all parts are known before the first of
them is computed, so that each can go backward at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cache.kinds import KINDS, Kind
from stages.student.reading.batch import Batch, TeacherTargets

Masks = dict[str, Tensor]

_GLIMPSE, _GLIMPSE_NEGATIVE = (KINDS.index(Kind("glimpse", side)) for side in ("positive", "negative"))
_GAZE, _GAZE_NEGATIVE = (KINDS.index(Kind("gaze", side)) for side in ("positive", "negative"))


def annotation_masks(batch: Batch) -> Masks:
    """Of the terms that need no teacher: [B] of the verb's, [B, R] of the others."""
    exists = batch.box_exists & batch.role_mask
    return {
        "verb": torch.ones_like(batch.verb, dtype=torch.bool),
        "noun": batch.role_mask,
        "noun_open": batch.role_mask,
        "box_l1": exists,
        "box_giou": exists,
        "box_exists": batch.role_mask,
    }


def teacher_masks(alignment: Any, teacher: TeacherTargets, role_mask: Tensor) -> Masks:
    """Of the terms of `stages.student.network.alignment`: [B] of the scene's, [B, R] of the instances'."""
    told = teacher.text_mask.any(dim=-1)  # [B, K]
    scene = told[:, _GLIMPSE] & alignment.scene
    instance = teacher.role_box_valid & told[:, _GAZE, None] & alignment.gaze & role_mask
    return {
        "verb_distill": scene,
        "verb_negative": scene & told[:, _GLIMPSE_NEGATIVE] & alignment.negatives,
        "role_distill": instance,
        "noun_negative": instance & told[:, _GAZE_NEGATIVE, None] & alignment.negatives,
        "verb_anchor": scene,
        "noun_anchor": instance,
    }


def released_masks(alignment: Any, teacher: TeacherTargets) -> Masks:
    """[B] of the teacher's terms of `stages.student.network.released`."""
    told = teacher.text_mask.any(dim=-1)
    scene, gaze = told[:, _GLIMPSE] & alignment.scene, told[:, _GAZE] & alignment.gaze
    return {
        "verb_distill": scene,
        "verb_negative": scene & told[:, _GLIMPSE_NEGATIVE] & alignment.negatives,
        "noun_negative": gaze & told[:, _GAZE_NEGATIVE] & alignment.negatives,
    }


def count(masks: Masks, names: Sequence[str]) -> Tensor:
    """[T] of the terms in the order of `names`; 0 for a term that has no mask."""
    return torch.stack([masks[name].sum() if name in masks else torch.tensor(0) for name in names])


def shares(own: Tensor, whole: Tensor) -> Tensor:
    """[T] counts of a part and of the whole -> [T] what the part's mean counts in the whole's.

    A part that a term counts nothing of has a mean of 0, so its share does not matter.
    """
    return own / whole.clamp(min=1)
