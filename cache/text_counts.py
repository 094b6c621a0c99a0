"""How many texts of a bank did not fit their encoder's limit, counted as they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from cache.manifest import Part

_FIELD = "texts"  # of what was measured of a part


@dataclass(frozen=True, slots=True)
class TextCounts:
    """Of `texts`, so many were encoded `in_pieces`, their tokens averaged; `cut` texts lost `tokens_cut`."""

    texts: int = 0
    in_pieces: int = 0
    cut: int = 0
    tokens_cut: int = 0

    def __add__(self, other: TextCounts) -> TextCounts:
        return TextCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def record(self) -> dict[str, Any]:
        """To be kept with what is measured of the shard."""
        return {_FIELD: asdict(self)}


def combine(parts: Iterable[Part]) -> TextCounts | None:
    """Of several shards together; None where none of them tells."""
    told = [TextCounts(**part.measured[_FIELD]) for part in parts if _FIELD in part.measured]
    return sum(told, TextCounts()) if told else None
