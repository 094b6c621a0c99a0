"""Masks for attention."""

from __future__ import annotations

from torch import Tensor


def never_empty(mask: Tensor) -> Tensor:
    """[..., L] bool, True = attend; where nothing is True, everything is.

    What a softmax over nothing gives is 0 in some attention kernels and NaN in others, and a NaN reaches
    the gradients even where the loss masks the answer out. Whoever opens a mask so masks the answer.
    """
    return mask | ~mask.any(dim=-1, keepdim=True)
