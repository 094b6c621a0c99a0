"""The terms of the objective, each a small function of tensors.

Axes: B pictures, R roles, A annotators, V verbs, N nouns, d width. Every function returns a scalar, the
mean over what its mask lets through; where the mask lets nothing through that is 0, with a gradient of 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.student.network.boxes import giou, to_corners


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values [...] whose mask [...] is True."""
    kept = torch.where(mask, values, values.new_zeros(()))
    return kept.sum() / mask.sum().clamp(min=1)


def verb_loss(logits: Tensor, verb: Tensor, candidates: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy over the candidate verbs alone.

    A verb that is no candidate gets no gradient at all: it is neither pushed down nor smoothed up.

    logits      [B, V]
    verb        [B] class numbers, each a candidate
    candidates  [V] bool, the verbs of the training set
    mask        [B] bool
    """
    allowed = logits.float().masked_fill(~candidates, 0)  # 0 in the sums, which are divided by their number
    entropy = (
        logits.float().masked_fill(~candidates, float("-inf")).logsumexp(dim=-1)
        - (1 - smoothing) * allowed.gather(-1, verb[:, None])[:, 0]
        - smoothing * allowed.sum(dim=-1) / candidates.sum()
    )
    return masked_mean(entropy, mask)


def noun_cross_entropy(logits: Tensor, nouns: Tensor, smoothing: float) -> Tensor:
    """[B, R, N] and [B, R, A] class numbers -> [B, R], summed over annotators."""
    logits = logits.float()
    hits = logits.gather(-1, nouns).mean(dim=-1)
    entropy = logits.logsumexp(dim=-1) - (1 - smoothing) * hits - smoothing * logits.mean(dim=-1)
    return entropy * nouns.shape[-1]


def noun_loss(logits: Tensor, nouns: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against each annotator's noun, summed over annotators.

    logits [B, R, N], nouns [B, R, A] class numbers, mask [B, R]
    """
    return masked_mean(noun_cross_entropy(logits, nouns, smoothing), mask)


def distillation_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """L1 between unit vectors [..., d], mask [...]; the teacher's side gets no gradient.

    Mean over coordinates times sqrt(d), that is, in units in which a unit vector's coordinates have mean
    square 1, as the released code's student vectors have at the start. Two unrelated vectors are
    2 / sqrt(pi) = 1.13 apart at any d; without the factor it would be 0.05 at d = 512, too small to matter
    beside the cross-entropy.
    """
    distance = (student - teacher.detach()).abs().mean(dim=-1)
    return masked_mean(distance * math.sqrt(student.shape[-1]), mask)


def negative_loss(aligned: Tensor, negative: Tensor, mask: Tensor) -> Tensor:
    """relu of the cosine between unit vectors [..., d] and [..., d], mask [...]."""
    return masked_mean((aligned * negative).sum(dim=-1).relu(), mask)


def box_l1_loss(predicted: Tensor, boxes: Tensor, exists: Tensor) -> Tensor:
    """Sum of the four absolute differences; boxes [B, R, 4] cx cy w h in 0..1, exists [B, R]."""
    return masked_mean((predicted - boxes).abs().sum(dim=-1), exists)


def box_giou_loss(predicted: Tensor, boxes: Tensor, exists: Tensor) -> Tensor:
    """1 - generalised IoU, in 0..2; boxes [B, R, 4] cx cy w h, exists [B, R]."""
    return masked_mean(1 - giou(to_corners(predicted), to_corners(boxes)), exists)


def box_exists_loss(logits: Tensor, exists: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of [B, R] logits; exists [B, R] bool, mask [B, R] the role is real."""
    entropy = F.binary_cross_entropy_with_logits(logits, exists.to(logits.dtype), reduction="none")
    return masked_mean(entropy, mask)
