"""What an index will be, before it is built: its kind, its parts, its bytes on disk and in memory.

N vectors of width E. A flat index compares a query with all of them. IVF sorts them into lists around
centroids and looks into the nearest lists only; product quantisation shrinks a vector to a few bytes (Jégou
et al., PAMI 2011). HNSW walks a graph of neighbours (Malkov and Yashunin, PAMI 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cache.errors import MachineError

Kind = Literal["flat", "ivf", "hnsw"]

CENTROIDS = 256  # of each piece of a quantised vector: its code is one byte
POINTS_PER_CENTROID = 40  # FAISS warns below 39
LINKS = 32  # of a vector in an HNSW graph; twice as many on its ground level
_FLOAT, _ID, _INT = 4, 8, 4
# Measured with 300,000 vectors of 512 numbers: keys of a vector while they are read and sorted, blocks under
# way, what lists that grow by doubling leave unused, and copies of the sample that codes are learnt from.
_KEYS, _BLOCKS, _SLACK, _RESIDUALS = 400, 48 << 20, 0.35, 1.75


@dataclass(frozen=True, slots=True)
class IndexWish:
    """What the user asked for; the fields are explained at `stages.teacher.embedding.index_settings`."""

    kind: Literal["auto", "flat", "ivf", "hnsw"] = "auto"
    flat_below: int = 100_000
    quantise: int = 0
    recall: float = 0.95


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What decides an index beside the vectors themselves.

    lists   of IVF, else 0
    code    bytes of a quantised vector; 0 = all its numbers are kept
    recall  wanted of a search; decides how many lists or neighbours it looks at
    """

    kind: Kind
    count: int
    width: int
    lists: int
    code: int
    recall: float

    @property
    def sample(self) -> int:
        """Vectors that centroids are learnt from."""
        if not self.lists:
            return 0
        pieces = 2 * POINTS_PER_CENTROID * CENTROIDS if self.code else 0
        return min(self.count, max(POINTS_PER_CENTROID * self.lists, pieces))

    @property
    def file_bytes(self) -> int:
        """On disk, and in memory to search it; the keys come on top."""
        vector = (self.code or self.width * _FLOAT) + _ID
        fixed = 0
        if self.kind == "ivf":
            vector += _ID  # a list names its members
            fixed = (self.lists + (CENTROIDS if self.code else 0)) * self.width * _FLOAT + self.lists * _ID
        if self.kind == "hnsw":
            # One vector in LINKS is on the next level too, with half as many links; its place and its level.
            upper = LINKS / (LINKS - 1)
            vector += 2 * LINKS * _INT + round(upper * _INT) + _ID + _INT
        return self.count * vector + fixed

    @property
    def build_bytes(self) -> int:
        """Peak memory of building it, the page cache left out, which gives way."""
        peak = self.file_bytes + self.count * _KEYS + _BLOCKS
        if self.kind == "ivf":
            peak += round(_SLACK * self.count * ((self.code or self.width * _FLOAT) + _ID))
        if self.code:
            peak += round(_RESIDUALS * self.sample * self.width * _FLOAT)
        return peak

    def __str__(self) -> str:
        code = f", {self.code} bytes a vector" if self.code else ""
        lists = f", {self.lists} lists" if self.lists else ""
        return f"{self.kind}{lists}{code}, {self.count} x {self.width}"


def plan_index(count: int, width: int, wish: IndexWish) -> IndexPlan:
    """The index that `count` vectors of `width` numbers get.

    Lists are no more than they can be learnt for; codes need 10,240 vectors to learn them from, and are left
    out below.
    """
    by_size: Kind = "flat" if count < wish.flat_below else "ivf"
    kind = by_size if wish.kind == "auto" else wish.kind
    if kind != "ivf":
        return IndexPlan(kind, count, width, 0, 0, wish.recall)
    # FAISS's own guidelines: 4 to 16 times the root of the count.
    lists = max(1, min(round(4 * math.sqrt(count)), count // POINTS_PER_CENTROID))
    learnable = count >= POINTS_PER_CENTROID * CENTROIDS
    code = _pieces(width, wish.quantise) if wish.quantise and learnable else 0
    return IndexPlan(kind, count, width, lists, code, wish.recall)


def _pieces(width: int, most: int) -> int:
    """The largest number of equal pieces, each of one byte, that is not above `most`."""
    return max(pieces for pieces in range(1, min(most, width) + 1) if width % pieces == 0)


def require_memory(plan: IndexPlan, family: str, available: int) -> None:
    """Raises MachineError where building the index would need more than `available` bytes."""
    if plan.build_bytes <= available:
        return
    smaller = "embed.index.kind=ivf and embed.index.quantise=64" if not plan.code else "a lower quantise"
    raise MachineError(
        f"building the index of {family} ({plan}) needs about {plan.build_bytes / 2**30:.2f} GiB of memory, "
        f"{available / 2**30:.2f} GiB are free; nothing was lost: free memory, or set {smaller} (at least "
        f"{_least(plan) / 2**30:.2f} GiB), then run the same command again"
    )


def _least(plan: IndexPlan) -> int:
    return plan_index(plan.count, plan.width, IndexWish("ivf", quantise=64)).build_bytes
