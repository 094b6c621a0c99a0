"""Settings of the FAISS indexes over pooled vectors."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from cache.index_plan import IndexWish
from stages.settings import Settings


class IndexSettings(Settings):
    """How pooled vectors are indexed; a change makes the next `embed-teacher` build the indexes anew."""

    kind: Literal["auto", "flat", "ivf", "hnsw"] = "auto"
    """`flat` is exact, `ivf` looks into the nearest lists, `hnsw` walks a graph; `auto` obeys flat_below."""
    flat_below: int = Field(default=100_000, ge=0)
    """Vectors from which `auto` builds an IVF index; below it a flat one is fast enough."""
    quantise: int = Field(default=0, ge=0)
    """At most this many bytes a vector in an IVF index, 0 = all numbers; 10,240 vectors are needed."""
    recall: float = Field(default=0.95, gt=0.0, le=1.0)
    """Share of the 10 exact nearest that a search should find; decides how much of the index it looks at."""

    @model_validator(mode="after")
    def _quantised_lists(self) -> Self:
        if self.quantise and self.kind in ("flat", "hnsw"):
            raise ValueError(
                f"quantise is {self.quantise} but kind is {self.kind!r}, which keeps whole vectors; "
                "set kind to 'ivf' or 'auto', or leave quantise at 0"
            )
        return self

    def wish(self) -> IndexWish:
        """The same, for the store."""
        return IndexWish(**self.model_dump())
