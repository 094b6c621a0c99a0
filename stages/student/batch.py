"""What one training or evaluation step sees.

Axes: B pictures, R = 6 roles (padded), A = 3 annotators, Q student tokens, P teacher tokens,
L text tokens, K = 4 kinds of rationale in the order of `cache.kinds.KINDS`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

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
    """

    vision: Tensor
    role_boxes: Tensor
    role_box_valid: Tensor
    text: Tensor
    text_mask: Tensor


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
        moved = {f.name: _move(getattr(self, f.name), device) for f in fields(self)}
        return Batch(**moved)


def _move(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, TeacherTargets):
        return TeacherTargets(**{f.name: _move(getattr(value, f.name), device) for f in fields(value)})
    return value
