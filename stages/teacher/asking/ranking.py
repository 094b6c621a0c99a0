"""Orders that are the same on every machine, worked out only as far as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Steps of a unit vector's components. The last bits of a dot product differ between machines and would flip
# near-ties. Whole numbers of this size keep every partial sum of a product, also with three vectors added up,
# a whole number below 2**24: float32 holds those exactly, so order and machine do not matter.
STEPS = 2048
_SAMPLED = 8


def in_steps(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows [N, E] -> rows of whole numbers, about `STEPS` long, with exact dot products."""
    steps: NDArray[np.float32] = np.rint(vectors * np.float32(STEPS))
    return steps


def falling(order: NDArray[Any], first: int) -> Iterator[int]:
    """Positions of `order` [M] by falling value, equal ones by position.

    Sorts about twice as many of the highest as `first` says, and more only when they are asked for.
    """
    some = order[::_SAMPLED]  # to find the bound among all takes four times as long for 4000 values
    done = 0
    while done < len(order):
        place = len(some) - 1 - 2 * first // _SAMPLED
        bound = np.partition(some, place)[place] if place > 0 else -np.inf
        high = np.flatnonzero(order >= bound)  # equal ones are all there or none
        ranked = high[np.argsort(-order[high], kind="stable")]
        yield from ranked[done:].tolist()
        done, first = len(ranked), 8 * first


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Scatters 64-bit numbers evenly over 0..1 (the finaliser of SplitMix64, Steele et al. 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    numbers = numbers ^ (numbers >> np.uint64(31))
    return (numbers >> np.uint64(11)).astype(np.float64) / 2.0**53
