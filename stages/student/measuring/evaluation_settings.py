"""What `evaluate` obeys: how nouns are chosen (by `predict` too), and what is told beside the figures."""

from __future__ import annotations

from pydantic import Field

from stages.settings import Settings


class EvaluationSettings(Settings):
    """Nothing here changes training, and all but `open_nouns` no figure either."""

    open_nouns: float = Field(default=0.0, ge=0, le=1)
    """Share of the open-vocabulary head in the nouns: 0 asks the noun classifier alone, 1 the comparison with
    the nouns' text alone; between, their log-probabilities are added with these weights."""

    draws: int = Field(default=1000, ge=0)
    """Bootstrap samples of the pictures that the intervals are taken from; 0 = no intervals."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Share of the draws that lies within an interval; the nearer to 1, the more draws its ends need."""
    seed: int = Field(default=0, ge=0)
    """Decides the draws: the same pictures and seed give the same intervals."""
    worst_verbs: int = Field(default=10, ge=0)
    """Verbs that the confusion names: those recognised worst; 0 = all that were ever missed."""
