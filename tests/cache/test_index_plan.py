"""What an index will be and need is known before it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import MachineError
from cache.index import build_index
from cache.index_plan import IndexPlan, IndexWish, plan_index, require_memory
from cache.manifest import load_manifest
from cache.vectors import PICTURES
from pipeline.bench.child import own_bytes
from pipeline.bench.index import PeakMemory
from tests.cache.many_vectors import many_vectors
from tests.cache.small_store import PRODUCER


@pytest.mark.parametrize(
    ("count", "wish", "kind"),
    [
        (99_999, IndexWish(), "flat"),
        (100_000, IndexWish(), "ivf"),
        (100_000, IndexWish(flat_below=200_000), "flat"),
        (10, IndexWish("ivf"), "ivf"),
        (10**6, IndexWish("flat"), "flat"),
        (10, IndexWish("hnsw"), "hnsw"),
    ],
)
def test_the_size_decides_unless_a_kind_is_named(count: int, wish: IndexWish, kind: str) -> None:
    assert plan_index(count, 8, wish).kind == kind


def test_lists_grow_with_the_root_and_are_never_more_than_can_be_learnt() -> None:
    lists = [plan_index(count, 8, IndexWish("ivf")).lists for count in (0, 10, 400, 10_000, 1_000_000)]
    assert lists == [1, 1, 10, 250, 4000]
    assert plan_index(1_000_000, 8, IndexWish("ivf")).sample == 160_000


@pytest.mark.parametrize(("width", "asked", "code"), [(768, 64, 64), (96, 64, 48), (8, 64, 8), (7, 3, 1)])
def test_a_code_is_as_long_as_asked_or_as_divides_the_width(width: int, asked: int, code: int) -> None:
    assert plan_index(20_000, width, IndexWish("ivf", quantise=asked)).code == code


def test_too_few_vectors_to_learn_codes_from_are_kept_whole() -> None:
    wish = IndexWish("ivf", quantise=8)
    assert plan_index(10_239, 16, wish).code == 0
    assert plan_index(10_240, 16, wish).code == 8


@pytest.mark.parametrize(
    "wish",
    [IndexWish("flat"), IndexWish("ivf"), IndexWish("hnsw"), IndexWish("ivf", quantise=2)],
    ids=["flat", "ivf", "hnsw", "ivf-pq"],
)
def test_the_file_has_the_predicted_size(tmp_path: Path, wish: IndexWish) -> None:
    paths = many_vectors(tmp_path, 10_500 if wish.quantise else 2000, 16)
    assert build_index(paths, PICTURES, PRODUCER, wish)
    (part,) = load_manifest(paths).of("index", PICTURES)
    plan = plan_index(part.rows, 16, wish)
    assert bool(plan.code) == bool(wish.quantise)
    assert part.bytes == pytest.approx(plan.file_bytes, rel=0.02)


def test_building_takes_no_more_memory_than_predicted(tmp_path: Path) -> None:
    paths = many_vectors(tmp_path, 20_000, 192)
    build_index(many_vectors(tmp_path / "first", 10, 8), PICTURES, PRODUCER)  # what importing takes
    plan = plan_index(20_000, 192, IndexWish())
    before = own_bytes()
    with PeakMemory() as peak:
        build_index(paths, PICTURES, PRODUCER)
    assert 0.5 * plan.file_bytes < peak() - before < plan.build_bytes


def test_an_index_that_needs_more_memory_than_is_free_is_refused_before_it_is_built(tmp_path: Path) -> None:
    paths = many_vectors(tmp_path, 50, 8)
    message = (
        r"^building the index of pictures \(flat, 50 x 8\) needs about 0\.05 GiB of memory, 0\.00 GiB are "
        r"free; nothing was lost: free memory, or set embed\.index\.kind=ivf and embed\.index\.quantise=64 "
        r"\(at least 0\.05 GiB\), then run the same command again$"
    )
    with pytest.raises(MachineError, match=message):
        build_index(paths, PICTURES, PRODUCER, available=1 << 20)
    assert load_manifest(paths).of("index", PICTURES) == []
    assert build_index(paths, PICTURES, PRODUCER, available=1 << 30)


def test_codes_need_less_memory_than_whole_vectors() -> None:
    whole, coded = (plan_index(300_000, 768, IndexWish("ivf", quantise=code)) for code in (0, 64))
    assert coded.build_bytes < 0.6 * whole.build_bytes
    require_memory(coded, PICTURES, coded.build_bytes)
    with pytest.raises(MachineError, match="or set a lower quantise"):
        require_memory(coded, PICTURES, coded.build_bytes - 1)


def test_a_plan_tells_what_it_is() -> None:
    assert str(IndexPlan("ivf", 300_000, 768, 2191, 64, 0.9)) == (
        "ivf, 2191 lists, 64 bytes a vector, 300000 x 768"
    )
