"""Random numbers that are the same on every machine, for the encoders without weights."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from stages.teacher.encoders.encoder import Floats


def seeded(*parts: object) -> np.random.RandomState:
    """Random numbers decided by `parts`; RandomState, because NumPy keeps its stream fixed for good."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()
    return np.random.RandomState(int.from_bytes(digest, "big"))


def projection(rows: int, columns: int, *parts: object) -> Floats:
    """[rows, columns] Gaussian that keeps the variance of standardised inputs (Johnson-Lindenstrauss)."""
    gauss: Floats = (seeded(*parts).randn(rows, columns) / math.sqrt(rows)).astype(np.float32)
    return gauss
