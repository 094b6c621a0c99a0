"""The four kinds of rationale, in the order every array and file of the store keeps them."""

from __future__ import annotations

from typing import Literal, NamedTuple

Aspect = Literal["glimpse", "gaze"]
Polarity = Literal["positive", "negative"]


class Kind(NamedTuple):
    """One kind of rationale: what it looks at, and whether it argues for or against the annotation."""

    aspect: Aspect
    polarity: Polarity

    @property
    def field(self) -> str:
        """The name of this kind in a teacher's JSON answer, e.g. ``positive_glimpse``."""
        return f"{self.polarity}_{self.aspect}"


# Axis 0 of the rationale text bank [4, L, Dx] follows this order; changing it is a new store version.
KINDS: tuple[Kind, ...] = (
    Kind("glimpse", "positive"),
    Kind("glimpse", "negative"),
    Kind("gaze", "positive"),
    Kind("gaze", "negative"),
)
