"""One pre-norm transformer decoder layer in which a few queries read many tokens.

Axes: B pictures, R queries (roles), Q memory tokens, d width, h heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenAttention(nn.Module):
    """Multi-head attention from few queries to many tokens that are key and value at once.

    Same parameters and same numbers as ``nn.MultiheadAttention``, in another order of products. A key is
    W_k m, so q . (W_k m) = (W_k' q) . m: the map moves from Q = 577 tokens to R = 6 queries of h = 8 heads,
    and the values' map likewise behind the weighted mean. 1.8 instead of 19.6 GFLOP for 32 pictures. The
    keys' bias adds the same to all tokens of a query, which a softmax does not see.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        for layer in (self.query, self.key, self.value):
            nn.init.uniform_(
                layer.weight, -math.sqrt(1.5 / dim), math.sqrt(1.5 / dim)
            )  # Xavier over all three
        for layer in (self.query, self.value, self.out):
            nn.init.zeros_(layer.bias)

    def forward(self, asking: Tensor, memory: Tensor) -> Tensor:
        """[B, R, d] and [B, Q, d] -> [B, R, d]."""
        roles, dim = asking.shape[1:]
        parts = (self.heads, dim // self.heads)
        query = self.query(asking).view(-1, roles, *parts) / math.sqrt(parts[1])
        key = self.key.weight.view(*parts, dim)
        moved = torch.einsum("brhc,hcd->bhrd", query, key).flatten(1, 2)  # [B, h * R, d]
        weights = (moved @ memory.transpose(1, 2)).softmax(dim=-1)
        weights = F.dropout(weights, self.dropout, self.training)
        read = (weights @ memory).view(-1, self.heads, roles, dim)
        value = self.value.weight.view(*parts, dim)
        answer = torch.einsum("bhrd,hcd->brhc", read, value).flatten(2)
        # Dropout takes weights away, and with them their share of the values' bias.
        total = weights.sum(dim=-1).view(-1, self.heads, roles).transpose(1, 2)  # [B, R, h]
        bias = (total[..., None] * self.value.bias.view(parts)).flatten(2)
        out: Tensor = self.out(answer + bias)
        return out


class DecoderLayer(nn.Module):
    """Self-attention of the queries, attention to the memory, feed-forward: torch's own pre-norm layer."""

    def __init__(self, dim: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.token_attention = TokenAttention(dim, heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, feed_forward), nn.GELU(), nn.Dropout(dropout), nn.Linear(feed_forward, dim)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, memory: Tensor, absent: Tensor) -> Tensor:
        """[B, R, d], [B, Q, d], [B, R] bool True = no such query -> [B, R, d].

        At least one query of each picture must be there, see `stages.student.network.masks`.
        """
        before_self, before_tokens, before_forward = self.norms
        asking = before_self(query)
        told, _ = self.self_attention(asking, asking, asking, key_padding_mask=absent, need_weights=False)
        query = query + self.dropout(told)
        query = query + self.dropout(self.token_attention(before_tokens(query), memory))
        forwarded: Tensor = query + self.dropout(self.feed_forward(before_forward(query)))
        return forwarded
