"""FAISS indexes over pooled vectors. Every vector in an index carries its key's id.

B queries, E numbers of a vector, C candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.atomic import replacing
from cache.errors import UserError
from cache.index_making import CANDIDATES, Trial, make_index, on_gpu
from cache.index_plan import IndexPlan, IndexWish, plan_index, require_memory
from cache.manifest import Manifest, Part, describe_part, load_manifest, next_number, replace_part
from cache.memory import read_memory
from cache.paths import StorePaths
from cache.replaced_parts import read_anew
from cache.vector_file import sorted_vectors, unit
from cache.vectors import Floats, NewestVectors

Ids = NDArray[np.int64]

RECORD = "index"  # of the part's producer: what the index is and how well it finds
_MANY = 1024  # queries that are worth copying an index to a GPU
_PAIRS = 1 << 22  # numbers compared at a time


@dataclass(frozen=True, slots=True)
class Hit:
    """One neighbour: its key and the cosine similarity to the query."""

    image: str
    aspect: str
    polarity: str
    similarity: float


def build_index(
    paths: StorePaths,
    family: str,
    producer: dict[str, Any],
    wish: IndexWish | None = None,
    available: int | None = None,
) -> bool:
    """Indexes the newest vectors of a family for cosine search, in place of any earlier index.

    wish       default: flat up to 100,000 vectors, IVF beyond
    available  bytes of memory it may take; None = what is free

    False where nothing was to do: no vectors, or the index is there, of exactly these and as wished. Raises
    UserError without FAISS, MachineError where memory does not suffice or the disk is full or read-only.
    """
    manifest = load_manifest(paths)
    parts = manifest.in_force("vectors", family)
    if not parts:
        return False
    newest = NewestVectors(paths, family, parts)
    plan = plan_index(len(newest), newest.width, wish or IndexWish())
    if _is_current(paths, manifest, family, plan):
        return False
    faiss = require_faiss()
    require_memory(plan, family, read_memory()[1] if available is None else available)
    target = paths.index / f"{family}-{next_number(paths, paths.index, '.faiss'):05d}.faiss"
    with sorted_vectors(newest, target) as (ids, vectors):
        index, trial = make_index(faiss, plan, ids, vectors)
    # Through Python's file: FAISS's own writer only prints when the last bytes find the disk full.
    with replacing(target) as temporary, temporary.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    record = {"plan": asdict(plan), "trial": asdict(trial)}
    producer = {**producer, "built_from": _checksums(parts), RECORD: record}
    replace_part(paths, describe_part(paths, target, "index", len(ids), producer, family))
    return True


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What the manifest says of an index; `current` = it is of the vectors now in force."""

    family: str
    plan: IndexPlan
    trial: Trial
    bytes: int
    current: bool


def index_records(paths: StorePaths) -> list[IndexRecord]:
    """Of every index, by family; one that an earlier version built has none."""
    manifest = load_manifest(paths)
    return [
        IndexRecord(
            part.name,
            IndexPlan(**part.producer[RECORD]["plan"]),
            Trial(**part.producer[RECORD]["trial"]),
            part.bytes,
            _is_current(paths, manifest, part.name),
        )
        for part in sorted(manifest.of_kind("index"), key=lambda part: part.name)
        if RECORD in part.producer
    ]


class VectorIndex:
    """An opened index with the keys of its vectors."""

    def __init__(self, paths: StorePaths, family: str) -> None:
        """Raises UserError as `load_index` does."""
        self._paths, self._family = paths, family
        self._faiss = require_faiss()
        self._owner = load_index(paths, family)  # of the memory of the other two
        self._inner = self._faiss.downcast_index(self._owner.index)
        self._ids: Ids = self._faiss.vector_to_array(self._owner.id_map)
        self._quantised = isinstance(self._inner, self._faiss.IndexIVFPQ)
        self._newest = read_anew(paths, self._parts, partial(NewestVectors, paths, family))
        rows = self._newest.keys.select("id", "image", "aspect", "polarity").iter_rows()
        self._keys = {id_: (image, aspect, polarity) for id_, image, aspect, polarity in rows}

    def search(self, queries: Floats, count: int, among: Collection[int] | None = None) -> list[list[Hit]]:
        """The `count` nearest keys of each query [B, E], nearest first.

        among   ids of the only vectors that may be found; then all of them are looked at, whatever the index.
                Default: any, found as well as the index finds

        Raises UserError where the width differs.
        """
        if queries.shape[1] != self._owner.d:
            raise UserError(
                f"the query has {queries.shape[1]} numbers, the index of {self._family} {self._owner.d}: it "
                "must come from the encoder that made the vectors; check the `embed` section of the config"
            )
        asked = unit(queries)
        ids, cosines = self._candidates(asked, count, among)
        if self._quantised and ids.size:
            cosines = read_anew(self._paths, self._parts, partial(self._true_cosines, asked, ids))
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
            ids, cosines = np.take_along_axis(ids, order, 1), np.take_along_axis(cosines, order, 1)
        return [
            [Hit(*self._keys[i], s) for i, s in zip(*pair, strict=True) if i >= 0]
            for pair in zip(ids.tolist(), cosines.tolist(), strict=True)
        ]

    def _parts(self, manifest: Manifest) -> list[Part]:
        return manifest.in_force("vectors", self._family)

    def _true_cosines(self, asked: Floats, ids: Ids, parts: list[Part]) -> Floats:
        if parts != self._newest.parts:
            self._newest = NewestVectors(self._paths, self._family, parts)
        return true_cosines(self._newest, asked, ids)

    def _candidates(self, asked: Floats, count: int, among: Collection[int] | None) -> tuple[Ids, Floats]:
        """ids [B, C] and cosines [B, C], both as the index knows them; id -1 where it found too few."""
        allowed = None if among is None else np.flatnonzero(np.isin(self._ids, np.fromiter(among, np.int64)))
        most = len(self._ids) if allowed is None else len(allowed)
        wanted = min(most, count * (CANDIDATES if self._quantised else 1))
        if not wanted:
            return np.zeros((len(asked), 0), np.int64), np.zeros((len(asked), 0), np.float32)
        if allowed is None:
            cosines, places = self._device(len(asked)).search(asked, wanted)
        else:
            cosines, places = self._search_all(asked, wanted, allowed)
        return np.where(places < 0, -1, self._ids[places]), cosines

    def _device(self, queries: int) -> Any:
        gpu = None
        if queries >= _MANY and not isinstance(self._inner, self._faiss.IndexHNSW):
            gpu = on_gpu(self._faiss, self._inner)
        return self._inner if gpu is None else gpu

    def _search_all(self, asked: Floats, wanted: int, allowed: Ids) -> tuple[Floats, Ids]:
        """Compares with every allowed vector: all lists of IVF, and what an HNSW graph links."""
        faiss, inner = self._faiss, self._inner
        selector = faiss.IDSelectorBatch(allowed)
        parameters = faiss.SearchParameters(sel=selector)
        if isinstance(inner, faiss.IndexIVF):
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=inner.nlist)
        elif isinstance(inner, faiss.IndexHNSW):
            inner = faiss.downcast_index(inner.storage)
        cosines, places = inner.search(asked, wanted, params=parameters)
        return cosines, places


def true_cosines(newest: NewestVectors, asked: Floats, ids: Ids) -> Floats:
    """Cosines [B, C] of queries [B, E], of length 1, with the vectors of `ids` [B, C]; -2 for an id of -1."""
    cosines = np.full(ids.size, -2, np.float32)
    order = np.argsort(ids, axis=None)
    ordered = ids.reshape(-1)[order]
    step = max(1, _PAIRS // newest.width)
    for block_ids, vectors in newest.blocks(only=ids):
        rows = unit(vectors)
        first, last = (np.searchsorted(ordered, block_ids, side) for side in ("left", "right"))
        row_of = np.repeat(np.arange(len(rows)), last - first)
        offset = np.arange(len(row_of)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
        pairs = order[np.repeat(first, last - first) + offset]
        for begin in range(0, len(pairs), step):
            part = slice(begin, begin + step)
            of_query = asked[pairs[part] // ids.shape[1]]
            cosines[pairs[part]] = np.einsum("pe,pe->p", of_query, rows[row_of[part]])
    return cosines.reshape(ids.shape)


def search(paths: StorePaths, family: str, queries: Floats, count: int) -> list[list[Hit]]:
    """The `count` nearest keys of each query [B, E], nearest first.

    Raises UserError where there is no index, it is older than its vectors, or the width differs.
    """
    return VectorIndex(paths, family).search(queries, count)


def load_index(paths: StorePaths, family: str) -> Any:
    """The FAISS index of a family, if it was built from exactly the vectors now in force.

    Raises UserError where it is missing, damaged or older than they are, or FAISS is not installed.
    """
    manifest = load_manifest(paths.require())
    rebuild = "run `mipd-pipe embed-teacher` to build it"
    if not manifest.of("index", family):
        raise UserError(f"the store at {paths.root} has no index of {family}; {rebuild}")
    path = paths.root / manifest.of("index", family)[-1].path
    if not path.exists():
        raise UserError(f"{path} is listed but missing; {rebuild}")
    if not _is_current(paths, manifest, family):
        raise UserError(f"{path} is not of the vectors now in the store; {rebuild}")
    try:
        return require_faiss().read_index(str(path))
    except RuntimeError as reason:
        raise UserError(f"{path} cannot be read ({reason}); delete it, then {rebuild}") from None


def _checksums(parts: Sequence[Part]) -> list[str]:
    """Of the vector parts in force: an index is current when it was built from these."""
    return [part.checksum for part in parts]


def _is_current(paths: StorePaths, manifest: Manifest, family: str, plan: IndexPlan | None = None) -> bool:
    """Whether the index is of the vectors in force and, where a plan is given, built by it."""
    built = manifest.of("index", family)
    if not built or built[-1].producer["built_from"] != _checksums(manifest.in_force("vectors", family)):
        return False
    if plan is not None and built[-1].producer.get(RECORD, {}).get("plan") != asdict(plan):
        return False
    path = paths.root / built[-1].path
    return path.exists() and path.stat().st_size == built[-1].bytes


def index_ids(paths: StorePaths, family: str) -> Ids:
    """The ids an index holds, in its own order. Raises UserError as `load_index` does."""
    faiss = require_faiss()
    index = load_index(paths, family)  # held until the ids are copied: it owns their memory
    ids: Ids = faiss.vector_to_array(index.id_map)
    return ids


def require_faiss() -> Any:
    """The module. Raises UserError with the command that installs it."""
    try:
        import faiss
    except ImportError:
        raise UserError(
            'searching the store needs FAISS, which is not installed: pip install "mipd-pipe[cpu]", '
            'or "mipd-pipe[gpu]" on a machine with a GPU'
        ) from None
    return faiss
