"""How long one picture takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per picture below which half, nine tenths and 99 of 100 calls stay."""

    p50: float
    p90: float
    p99: float

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 2) for name, value in asdict(self).items()}


def measure(call: Callable[[], object], runs: int, warm: int = 10) -> Latency:
    """`runs` calls one after the other, after some that do not count."""
    for _ in range(warm):
        call()
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return Latency(*(float(value) for value in np.percentile(np.array(seconds) * 1000, [50, 90, 99])))
