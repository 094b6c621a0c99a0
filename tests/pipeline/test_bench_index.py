"""`mipd-pipe bench index`, at a size that takes seconds."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

import pipeline.bench.index
from cache.errors import UserError
from cache.index_plan import IndexWish
from pipeline.bench.child import own_bytes
from pipeline.bench.index import PeakMemory, bench_index, made_up
from pipeline.console import Console


def test_each_kind_is_built_and_measured_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.bench.index, "WISHES", {"hnsw": IndexWish("hnsw")})
    result = bench_index(1000, 8, tmp_path, Console())
    (figures,) = result.data["indexes"]
    assert figures["plan"] == "hnsw, 1000 x 8"
    assert figures["recall"] >= 0.95
    assert figures["file_bytes"] == pytest.approx(figures["expected_file_bytes"], rel=0.02)
    assert all(figures[name] > 0 for name in ("build_seconds", "build_cpu_seconds", "build_bytes"))
    assert 0 < figures["search_many"] < 1 > figures["search_one"] > 0
    assert result.text.startswith("1000 vectors of 8 numbers\n\nindex  recall@10  build s  CPU s  memory")
    assert list(tmp_path.iterdir()) == []


def test_sizes_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--vectors 999 from 1,000, --width 8 from 8$"):
        bench_index(999, 8, tmp_path, Console())
    with pytest.raises(UserError, match=r"^1000000000 vectors need .* TiB in .*: give fewer"):
        bench_index(10**9, 1024, tmp_path, Console())


def test_made_up_vectors_are_the_same_on_every_call_and_others_for_another_seed() -> None:
    assert np.array_equal(made_up(5, 16, 1), made_up(5, 16, 1))
    assert not np.array_equal(made_up(5, 16, 1), made_up(5, 16, 2))


def test_the_peak_is_seen() -> None:
    """Memory straight from the system: a process may have freed as much before, and not given it back."""
    size = 128 << 20
    before = own_bytes()
    with PeakMemory() as peak, mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        for _ in range(20):  # long enough for a look
            held[:] = bytes(1) * size
    assert peak() - before >= size
