"""FAISS indexes of each kind: learnt from a sample, filled, and tried against exact search.

N vectors of width E, all of length 1 or zero, so that an inner product is a cosine; Q queries, k neighbours.
The same vectors in the same order give the same bytes, but for centroids that a GPU learnt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.index_plan import CENTROIDS, LINKS, IndexPlan
from cache.vectors import Floats

NEIGHBOURS = 10  # k of the recall that is measured
CANDIDATES = 10  # times k, looked up among codes and then compared by their whole vectors
MOST_EFFORT = 1024  # neighbours an HNSW search may keep
_QUERIES = 256  # of the sample that recall is measured on
_SEED = 1
_ROUNDS = 10  # of k-means; FAISS's own number for lists, and enough for codes
_BLOCK = 4096  # vectors compared at a time
_NEAR = 1e-6  # cosines that are as good as equal
_ENOUGH = 0.005  # recall that is not worth twice the work where the wanted one is out of reach

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trial:
    """How well a search finds what exact search finds.

    neighbours  k, fewer where there are fewer vectors
    queries     vectors of the index that were searched for, themselves not counted
    effort      lists (IVF) or neighbours (HNSW) that a search looks at; 0 = everything
    """

    recall: float
    neighbours: int
    queries: int
    effort: int


def make_index(faiss: Any, plan: IndexPlan, ids: NDArray[np.int64], vectors: Floats) -> tuple[Any, Trial]:
    """An index on the CPU of ids [N] and vectors [N, E], set to the least effort that finds enough."""
    inner = _empty(faiss, plan)
    if plan.lists:
        _learn(faiss, inner, plan, vectors)
    index = faiss.IndexIDMap(inner)
    # Several threads would link a graph in the order in which they happen to come.
    with _threads(faiss, 1 if plan.kind == "hnsw" else faiss.omp_get_max_threads()):
        index.add_with_ids(vectors, ids)
    return index, _tune(inner, plan, vectors)


def _empty(faiss: Any, plan: IndexPlan) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    if plan.kind == "hnsw":
        return faiss.IndexHNSWFlat(plan.width, LINKS, metric)
    flat = faiss.IndexFlatIP(plan.width)
    if plan.kind == "flat":
        return flat
    if plan.code:
        return faiss.IndexIVFPQ(flat, plan.width, plan.lists, plan.code, 8, metric)
    return faiss.IndexIVFFlat(flat, plan.width, plan.lists, metric)


def _learn(faiss: Any, inner: Any, plan: IndexPlan, vectors: Floats) -> None:
    """Ids are hashes of keys, so the first of them are a fair sample."""
    inner.cp.seed, inner.cp.niter, inner.cp.spherical = _SEED, _ROUNDS, True
    if plan.code:
        inner.pq.cp.seed, inner.pq.cp.niter = _SEED, _ROUNDS
        inner.pq.cp.max_points_per_centroid = plan.sample // CENTROIDS
    gpu = on_gpu(faiss, faiss.IndexFlatIP(plan.width))
    if gpu is not None:
        inner.clustering_index = gpu
    inner.train(vectors[: plan.sample])
    inner.clustering_index = None


def on_gpu(faiss: Any, index: Any) -> Any | None:
    """The index on all GPUs; None where FAISS has none, or they cannot hold it or do not know its kind."""
    if not faiss.get_num_gpus():
        return None
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError:
        return None


@contextmanager
def _threads(faiss: Any, count: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _tune(inner: Any, plan: IndexPlan, vectors: Floats) -> Trial:
    """The least effort with the wanted recall; out of reach, the least that comes close to the best."""
    places = np.arange(max(0, len(vectors) - _QUERIES), len(vectors))
    k = min(NEIGHBOURS, len(vectors) - 1)
    if k < 1:
        return Trial(1.0, 0, 0, 0)
    kth = exact_neighbours(vectors, places, k)[:, -1]
    trials: list[Trial] = []
    for effort in _efforts(plan):
        set_effort(inner, plan, effort)
        trials.append(Trial(_recall(inner, plan, vectors, places, kth, k), k, len(places), effort))
        if trials[-1].recall >= plan.recall:
            return trials[-1]
    bound = max(trial.recall for trial in trials) - _ENOUGH
    chosen = next(trial for trial in trials if trial.recall >= bound)
    set_effort(inner, plan, chosen.effort)
    return chosen


def _efforts(plan: IndexPlan) -> list[int]:
    if plan.kind == "flat":
        return [0]
    most, least = (plan.lists, 1) if plan.lists else (MOST_EFFORT, 2 * NEIGHBOURS)
    steps = [least << i for i in range(most.bit_length()) if least << i < most]
    return [*steps, most]


def set_effort(inner: Any, plan: IndexPlan, effort: int) -> None:
    """How much of the index a search looks at; the file keeps it."""
    if plan.kind == "ivf":
        inner.nprobe = effort
    elif plan.kind == "hnsw":
        inner.hnsw.efSearch = effort


def exact_neighbours(vectors: Floats, places: Places, k: int) -> Floats:
    """Cosines [Q, k] of the vectors at `places` [Q] with their nearest others, nearest first."""
    queries = vectors[places]
    best = np.full((len(places), k), -np.inf, np.float32)
    for begin in range(0, len(vectors), _BLOCK):
        block = vectors[begin : begin + _BLOCK]
        cosines = queries @ block.T
        mine = np.flatnonzero((places >= begin) & (places < begin + len(block)))
        cosines[mine, places[mine] - begin] = -np.inf
        both = np.concatenate([best, cosines], axis=1)
        best = -np.partition(-both, k - 1, axis=1)[:, :k]
    return -np.sort(-best, axis=1)


def _recall(inner: Any, plan: IndexPlan, vectors: Floats, places: Places, kth: Floats, k: int) -> float:
    """Share of the k nearest that a search finds; of vectors equally near, any will do."""
    wanted = k + 1  # itself
    found = 0
    for begin in range(0, len(places), 32):
        part = slice(begin, begin + 32)
        queries, own = vectors[places[part]], places[part]
        hits = inner.search(queries, wanted * (CANDIDATES if plan.code else 1))[1]
        cosines = np.einsum("qe,qce->qc", queries, vectors[np.maximum(hits, 0)])
        cosines[(hits < 0) | (hits == own[:, None])] = -np.inf
        nearest = -np.sort(-cosines, axis=1)[:, :k]
        found += int((nearest >= kth[part, None] - _NEAR).sum())
    return found / (len(places) * k)
