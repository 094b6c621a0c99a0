"""`mipd-pipe bench store`, at a size that takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import pipeline.bench.store
from cache.codec import StorageType
from cache.errors import UserError
from cache.manifest import load_manifest
from pipeline.bench.layouts import SHAPES, FilePerPicture, Layout, Store, Tokens
from pipeline.bench.page_cache import drop, resident_share
from pipeline.bench.promises import Target
from pipeline.bench.store import bench_store
from pipeline.bench.store_figures import TARGETS, files_at_swig_size
from pipeline.console import Console


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens()


def test_every_promise_is_measured_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.bench.store, "REPEATS", 1)
    monkeypatch.setattr(pipeline.bench.store, "_SCALE_PASSES", 2)
    result = bench_store(pictures=10, few=3, many=6, folder=tmp_path, console=Console())
    data = result.data
    assert data["targets"].keys() == TARGETS.keys()
    for key, found in data["targets"].items():
        assert found["value"] == data[key]
        assert key in result.text
        if found["value"] is None:
            assert key in ("cold_bf16_vs_pt", "cold_int8_vs_pt", "cold_vs_disk", "verify_vs_disk")
            assert "cold was not measured" in result.text
        else:
            assert found["value"] > 0
            assert found["met"] == TARGETS[key].met(found["value"])
    assert 0.24 < data["int8_size_vs_pt"] < 0.26
    assert 0.999 < data["int8_mean_cosine"] < 1
    assert data["int8_worst_cosine"] <= data["int8_mean_cosine"]
    assert data["bytes_per_picture"]["bf16"] == pytest.approx(data["bytes_per_picture"]["pt"] / 2, rel=0.05)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("pictures", "few", "many"), [(9, 1, 2), (10, 2, 2), (10, 0, 2)])
def test_sizes_that_make_no_sense_are_refused(tmp_path: Path, pictures: int, few: int, many: int) -> None:
    with pytest.raises(UserError, match=r"from 10, .* few below many"):
        bench_store(pictures, few, many, tmp_path, Console())


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    message = r"^--pictures 100000000 needs 8\d\d\.\d TiB in .*, which has .* free: give fewer pictures, or "
    with pytest.raises(UserError, match=message):
        bench_store(100_000_000, 1, 2, tmp_path, Console())
    with pytest.raises(UserError, match="is not a folder"):
        bench_store(10, 1, 2, tmp_path / "none", Console())


@pytest.mark.parametrize("storage", ["pt", "bf16", "int8"])
def test_every_layout_gives_back_what_was_written(tmp_path: Path, tokens: Tokens, storage: str) -> None:
    """What is compared is the same: each picture's own tokens, one tensor a bank, in the order asked for."""
    kinds: dict[str, StorageType] = {"bf16": "bf16", "int8": "int8"}
    layout: Layout = FilePerPicture(tmp_path) if storage == "pt" else Store(tmp_path, kinds[storage], 2)
    layout.write(tokens, range(3))
    read = layout.read([2, 0, 1])
    layout.close()
    assert [tensor.shape for tensor in read] == [(3, *shape) for shape in SHAPES.values()]
    assert {tensor.dtype for tensor in read} == {torch.bfloat16 if storage == "bf16" else torch.float32}
    for bank, tensor in zip(SHAPES, read, strict=True):
        for row, picture in zip(tensor, [2, 0, 1], strict=True):
            expected = torch.from_numpy(tokens.of(bank, picture))
            cosines = torch.cosine_similarity(row.float(), expected, dim=-1)
            assert cosines.min() > (0.999999 if storage == "pt" else 0.999)
    assert layout.seconds > 0
    if isinstance(layout, Store):
        assert [part.rows for part in load_manifest(layout.paths).parts] == [2, 1] * 3
    else:
        assert len(layout.files()) == 9


def test_pictures_are_not_each_others(tokens: Tokens) -> None:
    for bank in SHAPES:
        assert len({tokens.of(bank, picture).tobytes() for picture in range(12)}) == 12


def test_the_share_in_memory_is_the_systems(tmp_path: Path) -> None:
    """A file just written is in memory; dropped, it is not, unless its disk is memory itself."""
    file, empty = tmp_path / "x", tmp_path / "empty"
    with file.open("wb") as out:
        out.write(os.urandom(5 << 20))
        out.flush()
        os.fsync(out.fileno())
    empty.touch()
    assert resident_share([file, empty]) == 1.0
    drop([file, empty])
    assert resident_share([file, empty]) in (0.0, 1.0)
    assert resident_share([empty]) == 0.0


@pytest.mark.parametrize(
    ("sign", "met"), [(">=", [False, True, True]), ("<=", [True, True, False]), ("<", [True, False, False])]
)
def test_a_bound_is_a_bound(sign: str, met: list[bool]) -> None:
    target = Target(sign, 2.0, "")  # type: ignore[arg-type]
    assert [target.met(value) for value in (1.0, 2.0, 3.0)] == met


def test_the_files_of_swig_are_counted_with_the_default_settings() -> None:
    """75,702 training pictures are 74 shards, all 126,102 are 124; 152 parts of rationales."""
    assert files_at_swig_size() == 74 + 74 + 124 + (124 + 74) + 152 + 3 + 3 + 2 + 2
