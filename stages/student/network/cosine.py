"""Logits as cosines times a learned scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FIRST_SCALE = 1 / 0.07  # CLIP's (Radford et al., 2021), as is the bound
LARGEST_SCALE = 100.0


class CosineLogits(nn.Module):
    """Compares unit vectors with unit label vectors.

    Cosines alone lie in -1..1: over 454 verbs the best that cross-entropy could reach is
    ln(e + 453 / e) - 1 = 4.1 where it starts at ln 454 = 6.1, so training would hardly move.

    learned  False keeps the first scale
    """

    def __init__(self, learned: bool = True) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)), requires_grad=learned)

    @property
    def scale(self) -> Tensor:
        return self.log_scale.clamp(max=math.log(LARGEST_SCALE)).exp()

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """[..., d] and [C, d], both of unit length -> [..., C]."""
        return self.scale * (vectors @ labels.T)


class PlainLogits(nn.Module):
    """The released code's verb logits: products without a scale, with vectors that may have any length."""

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """[..., d] and [C, d] -> [..., C]."""
        return vectors @ labels.T
