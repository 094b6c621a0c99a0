"""The terms as the authors' released code takes their means: picture by picture.

Axes: B pictures, R roles, A annotators, N nouns, d width. Every function returns a scalar; where its mask
lets nothing through that is 0, with a gradient of 0. A term's value for one role or box is that of
`losses`; what differs is that a role of a picture with few roles weighs more than one of many.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from stages.student.network.boxes import giou, to_corners
from stages.student.objective.losses import masked_mean, noun_cross_entropy


def picture_mean(values: Tensor, mask: Tensor) -> Tensor:
    """[B, R] and [B, R]: mean over what is masked in of each picture, then over pictures that have any."""
    kept = values.where(mask, values.new_zeros(()))
    means = kept.sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
    return masked_mean(means, mask.any(dim=-1))


def noun_loss(logits: Tensor, nouns: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    """Sum over annotators, mean over a picture's roles, mean over pictures.

    logits [B, R, N], nouns [B, R, A] class numbers, mask [B, R]
    """
    return picture_mean(noun_cross_entropy(logits, nouns, smoothing), mask)


def box_l1_loss(predicted: Tensor, boxes: Tensor, exists: Tensor) -> Tensor:
    """Sum over a picture's boxes through their number, mean over pictures with any.

    predicted, boxes [B, R, 4] cx cy w h in 0..1, exists [B, R]
    """
    return picture_mean((predicted - boxes).abs().sum(dim=-1), exists)


def box_giou_loss(predicted: Tensor, boxes: Tensor, exists: Tensor) -> Tensor:
    """1 - generalised IoU, averaged as `box_l1_loss`."""
    return picture_mean(1 - giou(to_corners(predicted), to_corners(boxes)), exists)


def box_exists_loss(logits: Tensor, exists: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy [B, R], mean over a picture's roles, mean over pictures."""
    entropy = binary_cross_entropy_with_logits(logits, exists.to(logits.dtype), reduction="none")
    return picture_mean(entropy, mask)


def distillation_loss(student: Tensor, aligned: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of the coordinates; neither side is detached.

    student [B, d] of any length, aligned [B, d] of unit length, mask [B]
    """
    return masked_mean((student - aligned).abs().mean(dim=-1), mask)
