"""Boxes as tensors: two ways to write one, and how much two of them share.

Axes: the last one is the box, 4 numbers; all others broadcast.
centres  cx cy w h
corners  x1 y1 x2 y2
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-7  # keeps a box without area from dividing by zero


def to_corners(centres: Tensor) -> Tensor:
    """[..., 4] cx cy w h -> [..., 4] x1 y1 x2 y2."""
    middle, half = centres[..., :2], centres[..., 2:] / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def to_centres(corners: Tensor) -> Tensor:
    """[..., 4] x1 y1 x2 y2 -> [..., 4] cx cy w h."""
    first, second = corners[..., :2], corners[..., 2:]
    return torch.cat([(first + second) / 2, second - first], dim=-1)


def area(corners: Tensor) -> Tensor:
    """[..., 4] -> [...]; 0 for an inverted box."""
    sides = (corners[..., 2:] - corners[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of corners [..., 4] and [..., 4] -> [...] in 0..1.

    Box by box: ``iou(a[:, None], b[None])`` compares all of `a` with all of `b`.
    """
    shared, union = _overlap(a, b)
    return shared / union.clamp(min=EPSILON)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union -> [...] in -1..1 (Rezatofighi et al., CVPR 2019).

    IoU less the share of the smallest enclosing box that neither box fills, so that boxes apart from
    each other still have a gradient.
    """
    shared, union = _overlap(a, b)
    hull = area(torch.cat([torch.minimum(a, b)[..., :2], torch.maximum(a, b)[..., 2:]], dim=-1))
    hull = hull.clamp(min=EPSILON)
    return shared / union.clamp(min=EPSILON) - (hull - union) / hull


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    shared = area(torch.cat([torch.maximum(a, b)[..., :2], torch.minimum(a, b)[..., 2:]], dim=-1))
    return shared, area(a) + area(b) - shared
