"""Every kind of index finds what it was built to find, tells true cosines, and is the same on every build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from cache.index import VectorIndex, build_index, index_records
from cache.index_making import exact_neighbours, make_index, on_gpu
from cache.index_plan import IndexWish, plan_index
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.vector_file import sorted_vectors, unit
from cache.vectors import PICTURES, NewestVectors, VectorKey, matrix, read_vectors
from tests.cache.many_vectors import clustered, many_vectors
from tests.cache.small_store import PRODUCER

WIDTH = 16
WISHES = {
    "flat": IndexWish("flat"),
    "ivf": IndexWish("ivf"),
    "hnsw": IndexWish("hnsw"),
    "ivf-pq": IndexWish("ivf", quantise=4),
}
COUNTS = {"flat": 2000, "ivf": 2000, "hnsw": 2000, "ivf-pq": 10_500}


@pytest.fixture(scope="module", params=WISHES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    """A store with an index of one kind; tests must not change it."""
    paths = many_vectors(tmp_path_factory.mktemp("store"), COUNTS[request.param], WIDTH)
    assert build_index(paths, PICTURES, PRODUCER, WISHES[request.param])
    return paths


def exact(
    paths: StorePaths, query: Any, count: int, among: set[str] | None = None
) -> list[tuple[str, float]]:
    frame = read_vectors(paths, PICTURES)
    cosines = unit(matrix(frame["vector"])) @ unit(query[None])[0]
    found = zip(frame["image"].to_list(), cosines.tolist(), strict=True)
    return sorted((f for f in found if among is None or f[0] in among), key=lambda f: -f[1])[:count]


def test_a_search_finds_what_exact_search_finds_as_often_as_was_measured(store: StorePaths) -> None:
    queries = clustered(40, WIDTH, seed=7)
    index = VectorIndex(store, PICTURES)
    (record,) = index_records(store)
    assert record.trial.recall >= record.plan.recall == 0.95
    assert (record.trial.neighbours, record.trial.queries, record.current) == (10, 256, True)
    right = 0
    for query, hits in zip(queries, index.search(queries, 10), strict=True):
        right += len({hit.image for hit in hits} & {image for image, _ in exact(store, query, 10)})
    assert right / 400 >= 0.9


def test_a_similarity_is_the_true_cosine_and_falls(store: StorePaths) -> None:
    query = clustered(1, WIDTH, seed=8)
    (hits,) = VectorIndex(store, PICTURES).search(query, 5)
    true = dict(exact(store, query[0], 20_000))
    assert [hit.similarity for hit in hits] == pytest.approx([true[hit.image] for hit in hits], abs=1e-5)
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)


def test_among_a_few_the_nearest_are_found_however_far_they_are(store: StorePaths) -> None:
    query = clustered(1, WIDTH, seed=9)
    few = {f"{number}.jpg" for number in range(0, 1000, 37)}
    ids = [VectorKey(image).id for image in few] + [VectorKey("elsewhere.jpg").id]
    (hits,) = VectorIndex(store, PICTURES).search(query, 4, among=ids)
    assert [hit.image for hit in hits] == [image for image, _ in exact(store, query[0], 4, few)]
    (all_,) = VectorIndex(store, PICTURES).search(query, 1000, among=ids)
    assert {hit.image for hit in all_} == few
    assert VectorIndex(store, PICTURES).search(query, 4, among=[]) == [[]]


@pytest.mark.parametrize("kind", WISHES)
def test_the_same_vectors_give_the_same_bytes_whatever_their_order(tmp_path: Path, kind: str) -> None:
    files = []
    for order in ((0, 1), (1, 0)):
        paths = many_vectors(tmp_path / str(order), COUNTS[kind], WIDTH, order)
        build_index(paths, PICTURES, PRODUCER, WISHES[kind])
        files.append((paths.root / load_manifest(paths).of("index", PICTURES)[0].path).read_bytes())
    assert files[0] == files[1]


def test_an_index_of_other_settings_is_built_anew_and_one_of_the_same_is_kept(tmp_path: Path) -> None:
    paths = many_vectors(tmp_path, 500, WIDTH)
    kinds = []
    for wish in (IndexWish(), IndexWish("ivf"), IndexWish("ivf", recall=0.5), IndexWish("hnsw")):
        assert build_index(paths, PICTURES, PRODUCER, wish)
        assert not build_index(paths, PICTURES, PRODUCER, wish)
        (record,) = index_records(paths)
        kinds.append((record.plan.kind, record.plan.recall))
    assert kinds == [("flat", 0.95), ("ivf", 0.95), ("ivf", 0.5), ("hnsw", 0.95)]


def test_more_is_looked_at_where_more_recall_is_wanted(tmp_path: Path) -> None:
    paths = many_vectors(tmp_path, 2000, WIDTH)
    efforts = []
    for recall in (0.3, 0.9, 1.0):
        build_index(paths, PICTURES, PRODUCER, IndexWish("ivf", recall=recall))
        (record,) = index_records(paths)
        assert record.trial.recall >= recall
        efforts.append(record.trial.effort)
    assert efforts[0] < efforts[1] < efforts[2]


def test_recall_counts_any_of_equally_near_vectors() -> None:
    """Copies of one text have the same vector: which of them is found says nothing."""
    vectors = np.repeat(unit(clustered(20, WIDTH)), 50, axis=0)
    plan = plan_index(len(vectors), WIDTH, IndexWish("ivf"))
    _, trial = make_index(faiss, plan, np.arange(len(vectors)), vectors)
    assert trial.recall == 1


def test_the_exact_neighbours_leave_out_the_vector_itself() -> None:
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1]], np.float32))
    found = exact_neighbours(vectors, np.array([0, 2]), 1)
    assert found[:, 0] == pytest.approx([1 / 1.01**0.5, 0.1 / 1.01**0.5])


def test_sorted_vectors_are_in_the_order_of_their_ids_and_leave_no_file(tmp_path: Path) -> None:
    paths = many_vectors(tmp_path, 30, 8)
    newest = NewestVectors(paths, PICTURES, load_manifest(paths).in_force("vectors", PICTURES))
    by_id = dict(zip(newest.keys["id"], unit(matrix(read_vectors(paths, PICTURES)["vector"])), strict=True))
    with sorted_vectors(newest, paths.index / "pictures-00000.faiss") as (ids, vectors):
        assert list(paths.index.iterdir()) == []
        assert ids.tolist() == sorted(by_id)
        assert np.array_equal(vectors, np.stack([by_id[id_] for id_ in ids.tolist()]))


class FaissWithGpu:
    """FAISS as it is with a GPU, which here is the same index on the CPU."""

    def __init__(self, fault: str = "") -> None:
        self.moved: list[str] = []
        self._fault = fault

    def get_num_gpus(self) -> int:
        return 1

    def index_cpu_to_all_gpus(self, index: Any) -> Any:
        self.moved.append(type(index).__name__)
        if self._fault:
            raise RuntimeError(self._fault)
        return index

    def __getattr__(self, name: str) -> Any:
        return getattr(faiss, name)


@pytest.mark.parametrize("fault", ["", "out of memory"])
def test_a_gpu_learns_centroids_and_where_it_cannot_the_cpu_does(fault: str) -> None:
    vectors = unit(clustered(1000, WIDTH))
    plan = plan_index(1000, WIDTH, IndexWish("ivf"))
    here, with_gpu = FaissWithGpu(fault), []
    for module in (faiss, here):
        index, _ = make_index(module, plan, np.arange(1000), vectors)
        with_gpu.append(faiss.serialize_index(index).tobytes())
    assert here.moved == ["IndexFlatIP"]
    assert with_gpu[0] == with_gpu[1]
    assert (on_gpu(here, index) is None) == bool(fault)


@pytest.mark.parametrize(("queries", "moved"), [(1023, []), (1024, ["IndexIVFFlat"])])
def test_many_queries_are_searched_for_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queries: int, moved: list[str]
) -> None:
    paths = many_vectors(tmp_path, 500, WIDTH)
    build_index(paths, PICTURES, PRODUCER, IndexWish("ivf"))
    plain = VectorIndex(paths, PICTURES).search(clustered(queries, WIDTH, seed=3), 2)
    module = FaissWithGpu()
    monkeypatch.setattr("cache.index.require_faiss", lambda: module)
    assert VectorIndex(paths, PICTURES).search(clustered(queries, WIDTH, seed=3), 2) == plain
    assert module.moved == moved
