"""Which number format the large products of a step are computed in."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from statistics import median
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")

WORTH_IT = 1.3  # bf16 rounds every product's input to 8 bits; for less than that gain fp32 stays
_SIDE, _PAIRS = 512, 7


def choose_precision(device: torch.device) -> Precision:
    """bf16 where the device multiplies matrices faster in it by more than `WORTH_IT`, measured now.

    Takes a few milliseconds. Whether a processor has instructions for bf16 says little: some compute it
    slower than fp32 for all that they know the format.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "fp32"
    return "bf16" if bf16_gain(device) > WORTH_IT else "fp32"


def bf16_gain(device: torch.device) -> float:
    """How many times as fast as in fp32 a product is in bf16: the median of pairs that take turns."""
    sides = {}
    for kind in (torch.float32, torch.bfloat16):
        sides[kind] = torch.ones(_SIDE, _SIDE, device=device, dtype=kind)
        _seconds(sides[kind], device)  # the first product chooses and loads its kernel
    pairs = [[_seconds(sides[kind], device) for kind in sides] for _ in range(_PAIRS)]
    return median(fp32 / bf16 for fp32, bf16 in pairs)


def _seconds(side: torch.Tensor, device: torch.device) -> float:
    wait = waiter(device)
    wait()
    start = time.perf_counter()
    side @ side
    wait()
    return time.perf_counter() - start


def waiter(device: torch.device) -> Callable[[], None]:
    """Waits for what the device was given to do; a CPU has done it."""
    if device.type == "cuda":
        return partial(torch.cuda.synchronize, device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def computing(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Inside, large products are computed in `precision`; losses, norms and rankings always in fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def full_precision(tensor: torch.Tensor) -> AbstractContextManager[None]:
    """Inside, what follows from this tensor's device is computed in fp32.

    For what is compared or ranked: in bf16 numbers near each other are the same number, and a tie of logits
    counts against the student.
    """
    return torch.autocast(tensor.device.type, enabled=False)
