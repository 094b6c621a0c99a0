"""A number that nobody knows exactly yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_LOW, _HIGH = 10, 90  # percentiles


@dataclass(frozen=True, slots=True)
class Spread:
    """Not below 0, between `low` and `high`; `likely` is None where nothing was measured."""

    low: float
    likely: float | None
    high: float

    @classmethod
    def exactly(cls, value: float) -> Spread:
        return cls(value, value, value)

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The 10th percentile, the mean and the 90th percentile of one or more measured values."""
        array = np.fromiter(values, np.float64)
        low, high = np.percentile(array, (_LOW, _HIGH))
        return cls(float(low), float(array.mean()), float(high))

    def __add__(self, other: Spread) -> Spread:
        known = self.likely is not None and other.likely is not None
        likely = (self.likely or 0) + (other.likely or 0) if known else None
        return Spread(self.low + other.low, likely, self.high + other.high)

    def __mul__(self, other: Spread | float) -> Spread:
        if not isinstance(other, Spread):
            other = Spread.exactly(other)
        known = self.likely is not None and other.likely is not None
        likely = (self.likely or 0) * (other.likely or 0) if known else None
        return Spread(self.low * other.low, likely, self.high * other.high)

    def __truediv__(self, other: Spread) -> Spread:
        """The most of one through the least of the other is the most there can be."""
        likely = None
        if self.likely is not None and other.likely is not None:
            likely = self.likely / other.likely
        return Spread(self.low / other.high, likely, self.high / other.low)


def total(spreads: Iterable[Spread]) -> Spread:
    whole = Spread.exactly(0)
    for spread in spreads:
        whole = whole + spread
    return whole
