"""Frozen tokens into the width of a trainable network.

Axes: B pictures, S tokens (any further axes), D width of the tokens, d width of the network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenInput(nn.Module):
    """LayerNorm and Linear over tokens that never get a gradient.

    Encoders differ in scale by orders of magnitude, so tokens are normalised before they are mapped. The
    norm's gain and shift act on the map instead of on every token, W (g * x + s) + b = (W g) x + (W s + b):
    the same numbers and gradients, but what backward needs is one product of W's size. Left on the tokens it
    is a product and two passes of the tokens' size.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, S, D] in any float type -> [B, S, d]."""
        return self.project(self.normalise(tokens))

    def normalise(self, tokens: Tensor) -> Tensor:
        """[..., D] in any float type -> [..., D] of mean 0 and variance 1, in the type of the map's input.

        Tokens of a bf16 bank stay bf16 under bf16 autocast: statistics are fp32 inside the kernel, and what
        the map would round its input to anyway is written at once.
        """
        kind = tokens.device.type
        mapped = (
            torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.linear.weight.dtype
        )
        with torch.no_grad(), torch.autocast(kind, enabled=False):
            wide = tokens if tokens.dtype in (mapped, torch.float32) else tokens.to(mapped)
            return F.layer_norm(wide, wide.shape[-1:], eps=self.norm.eps).to(mapped)

    def project(self, normal: Tensor) -> Tensor:
        """[..., D] from `normalise`, or means of such tokens -> [..., d]."""
        weight = self.linear.weight * self.norm.weight
        bias = torch.addmv(self.linear.bias, self.linear.weight, self.norm.bias)
        return F.linear(normal, weight, bias)
