"""Where tensors live."""

from __future__ import annotations

import torch

from cache.errors import UserError


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one. Raises UserError where a named device is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"train.device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices; "
            "set train.device to 'auto' or 'cpu'"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("train.device 'mps' is not there; set train.device to 'auto' or 'cpu'")
    return device
