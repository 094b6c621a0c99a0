"""How fast this machine multiplies matrices: the limit that a training step is held against."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import torch

from stages.student.training.precision import PRECISIONS, Precision, waiter

SIDE = {"cpu": 2048}  # of the two matrices; large enough that a larger one is no faster
_ELSEWHERE = 8192
_PAIRS = 3
TYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def matmul_rates(device: torch.device, side: int = 0) -> dict[Precision, float]:
    """Floating point operations per second in each format, the median of products that take turns.

    side  of the matrices; 0 = what suits the device
    """
    side = side or SIDE.get(device.type, _ELSEWHERE)
    matrices = {kind: torch.ones(side, side, device=device, dtype=TYPES[kind]) for kind in PRECISIONS}
    seconds: dict[Precision, list[float]] = {kind: [] for kind in PRECISIONS}
    for pair in range(-1, _PAIRS):  # the first one, -1, chooses and loads the kernel and does not count
        for kind, matrix in matrices.items():
            taken = _seconds(matrix)
            seconds[kind] += [taken] if pair >= 0 else []
    return {kind: 2 * side**3 / median(seconds[kind]) for kind in PRECISIONS}


def _seconds(matrix: torch.Tensor) -> float:
    wait = waiter(matrix.device)
    wait()
    start = time.perf_counter()
    matrix @ matrix
    wait()
    return time.perf_counter() - start
