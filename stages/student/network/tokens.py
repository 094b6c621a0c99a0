"""Tokens of a bank as tensors, in the number format in which they are stored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cache.batch_memory import empty
from cache.stored_rows import StoredRows


def to_tensor(rows: StoredRows) -> Tensor:
    """[B, *shape] in the bank's own type; int8 comes as float32, each token multiplied by its scale.

    Shares the memory of `rows` but for int8. The model casts to the type it computes in, which no bank loses
    anything by: a bf16 or fp16 number is a float32 number.
    """
    if rows.storage == "bf16":
        return torch.from_numpy(rows.values.view(np.int16)).view(torch.bfloat16)
    values = torch.from_numpy(rows.values)
    return values if rows.scales is None else _scaled(values, torch.from_numpy(rows.scales))


def _scaled(levels: Tensor, scales: Tensor) -> Tensor:
    """[B, ..., D] int8 and [B, ...] -> [B, ..., D] float32."""
    tokens = torch.from_numpy(empty(tuple(levels.shape), np.float32))
    # Row by row: over a whole batch torch takes another way, which is seven times slower.
    for row, level, scale in zip(tokens, levels, scales, strict=True):
        torch.mul(level, scale[..., None], out=row)
    return tokens
