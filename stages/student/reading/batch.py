"""What one training or evaluation step sees.

Axes: B pictures, R = 6 roles (padded), A = 3 annotators, Q student tokens, P teacher tokens,
L text tokens, K = 4 kinds of rationale in the order of `cache.kinds.KINDS`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """The cached knowledge of the teacher; absent at evaluation.

    vision           [B, P, Dt] teacher vision tokens, class token first where the bank has one
    role_boxes       [B, R, 4] x1 y1 x2 y2 in 0..1 of the *teacher* frame; only where `role_box_valid`
    role_box_valid   [B, R] bool, the role has a box that the teacher frame shows
    text             [B, K, L, Dx] rationale text tokens
    text_mask        [B, K, L] bool, a real token; all False where the rationale is missing or rejected
    mined            [B, M, 2, L, Dx] positive glimpse and gaze of M pictures of other verbs; None = not read
    mined_mask       [B, M, 2, L] bool
    """

    vision: Tensor
    role_boxes: Tensor
    role_box_valid: Tensor
    text: Tensor
    text_mask: Tensor
    mined: Tensor | None = None
    mined_mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch.

    images       the B keys, for messages and predictions
    vision       [B, Q, Ds] student vision tokens
    verb         [B] long, index into the vocabulary's verbs
    role_mask    [B, R] bool, the role exists for this verb
    nouns        [B, R, A] long, noun classes; `blank` for an unfilled role
    boxes        [B, R, 4] cx cy w h in 0..1 of the *student* frame; only where `box_exists`
    box_exists   [B, R] bool
    teacher      None at evaluation
    """

    images: tuple[str, ...]
    vision: Tensor
    verb: Tensor
    role_mask: Tensor
    nouns: Tensor
    boxes: Tensor
    box_exists: Tensor
    teacher: TeacherTargets | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch with every tensor on `device`."""
        teacher = self.teacher and replace(self.teacher, **_moved(self.teacher, device))
        return replace(self, **_moved(self, device), teacher=teacher)


def _moved(record: Batch | TeacherTargets, device: torch.device) -> dict[str, Any]:
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {
        name: value.to(device, non_blocking=True)
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
