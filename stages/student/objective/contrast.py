"""InfoNCE over rationales: an aligned vector must find its own positive rationale among others.

Axes: B pictures, R roles, M mined pictures, C = 1 + B + M candidates that are not the answer, L text tokens,
d width.

After van den Oord et al., 2018. Wrong candidates are the picture's own negative rationale, the positives of
the pictures of other verbs in the batch, and mined ones: positives of other verbs that read much like it,
which random batches of 504 verbs seldom hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.student.network.alignment import (
    NEGATIVE_GAZE,
    NEGATIVE_GLIMPSE,
    POSITIVE_GAZE,
    POSITIVE_GLIMPSE,
    Aligned,
    Alignment,
)
from stages.student.objective.losses import masked_mean
from stages.student.reading.batch import TeacherTargets
from stages.student.training.precision import full_precision

GLIMPSE, GAZE = 0, 1  # of the mined rationales


@dataclass(frozen=True, slots=True)
class PooledRationales:
    """Rationales as unit vectors in the student's width; 0 where there is none.

    own         [B, K, d] in the order of `cache.kinds.KINDS`
    told        [B, K] bool, it is there
    mined       [B, M, 2, d] positive glimpse and gaze of other pictures
    mined_told  [B, M, 2] bool
    """

    own: Tensor
    told: Tensor
    mined: Tensor
    mined_told: Tensor


def pool_rationales(alignment: Alignment, teacher: TeacherTargets) -> PooledRationales:
    """Every rationale of a batch, by the alignment's own map."""
    own, told = _pool(alignment, teacher.text, teacher.text_mask)
    if teacher.mined is None or teacher.mined_mask is None:
        none = own.new_zeros(len(own), 0, 2, own.shape[-1])
        return PooledRationales(own, told, none, none[..., 0].bool())
    mined, mined_told = _pool(alignment, teacher.mined, teacher.mined_mask)
    return PooledRationales(own, told, mined, mined_told)


def _pool(alignment: Alignment, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """[..., L, Dx] and [..., L] -> [..., d] of unit length and [...]."""
    return alignment.pool(alignment.text.normalise(text), mask), mask.any(dim=-1)


def info_nce(
    aligned: Tensor, positive: Tensor, others: Tensor, allowed: Tensor, mask: Tensor, temperature: float
) -> Tensor:
    """Cross-entropy of `positive` among itself and the allowed `others`, by cosine / temperature.

    aligned   [..., d] of unit length
    positive  [..., d]
    others    [..., C, d]
    allowed   [..., C] bool, may be compared with
    mask      [...] bool; where nothing is allowed there is nothing to tell apart, and nothing counts
    """
    right = (aligned * positive).sum(dim=-1, keepdim=True)
    with full_precision(aligned):  # divided by a temperature, what bf16 rounds off a cosine counts tenfold
        wrong = (others @ aligned[..., None])[..., 0]
    logits = torch.cat([right, wrong.masked_fill(~allowed, float("-inf"))], dim=-1) / temperature
    entropy = logits.logsumexp(dim=-1) - logits[..., 0]
    return masked_mean(entropy, mask & allowed.any(dim=-1))


def scene_contrast(
    aligned: Aligned, rationales: PooledRationales, verb: Tensor, temperature: float
) -> Tensor:
    """The aligned scene among glimpses; verb [B]."""
    others, allowed = _others(rationales, verb, POSITIVE_GLIMPSE, NEGATIVE_GLIMPSE, GLIMPSE)
    positive = rationales.own[:, POSITIVE_GLIMPSE]
    return info_nce(aligned.scene, positive, others, allowed, aligned.scene_valid, temperature)


def instance_contrast(
    aligned: Aligned, rationales: PooledRationales, verb: Tensor, role_mask: Tensor, temperature: float
) -> Tensor:
    """The aligned vector of each role's box among gazes; verb [B], role_mask [B, R]."""
    others, allowed = _others(rationales, verb, POSITIVE_GAZE, NEGATIVE_GAZE, GAZE)
    positive = rationales.own[:, None, POSITIVE_GAZE].expand_as(aligned.instance)
    allowed = allowed[:, None].expand(*role_mask.shape, -1)
    mask = aligned.instance_valid & role_mask
    return info_nce(aligned.instance, positive, others[:, None], allowed, mask, temperature)


def _others(
    rationales: PooledRationales, verb: Tensor, positive: int, negative: int, aspect: int
) -> tuple[Tensor, Tensor]:
    """The candidates of each picture that are not its own positive, [B, C, d], and which count, [B, C]."""
    count = len(verb)
    batch = rationales.own[None, :, positive].expand(count, -1, -1)
    of_another_verb = (verb[:, None] != verb) & rationales.told[:, positive]
    others = torch.cat([rationales.own[:, negative, None], batch, rationales.mined[:, :, aspect]], dim=1)
    told = rationales.told[:, negative, None], of_another_verb, rationales.mined_told[:, :, aspect]
    return others, torch.cat(told, dim=1)
