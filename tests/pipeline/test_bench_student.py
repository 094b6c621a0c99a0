"""`mipd-pipe bench student`, at a size that takes seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

import pipeline.bench.student
import pipeline.bench.student_rates
from cache.errors import UserError
from cache.paths import StorePaths
from pipeline.bench.child import peak_mib
from pipeline.bench.matmul_rate import SIDE, matmul_rates
from pipeline.bench.step_parts import StepParts, counted_flops
from pipeline.bench.student import Wanted, bench_student
from pipeline.bench.student_figures import TARGETS
from pipeline.bench.student_rates import StudentRates
from pipeline.bench.swig_world import Sizes, make_labels, make_samples, make_vocabulary, write_store
from pipeline.bench.training_memory import train_settings, training_peak_mib
from pipeline.console import Console
from stages.student.settings import StudentSettings, TrainSettings
from stages.student.training.checkpoint import BEST
from stages.student.training.step import Stepper

TINY = Sizes(
    pictures=4,
    batch=2,
    verbs=9,
    candidates=12,
    roles=5,
    nouns=7,
    label_width=8,
    student_grid=2,
    student_width=6,
    teacher_grid=2,
    teacher_width=6,
    words=3,
    text_width=5,
    student=StudentSettings(dim=16, heads=2, alignment_heads=2, feed_forward=16, head_hidden=16),
)
CPU = torch.device("cpu")


@pytest.fixture
def rates(tmp_path: Path) -> StudentRates:
    paths = StorePaths(tmp_path / "store")
    write_store(paths, TINY)
    return StudentRates.build(paths, TINY, CPU)


def stepper_of(rates: StudentRates) -> Stepper:
    return rates.steppers["fp32"]


def measured_peak(
    paths: StorePaths, sizes: Sizes, folder: Path, settings: TrainSettings, threads: int
) -> float:
    """MiB by number format, in place of two processes that import torch."""
    assert settings.batch_size == 2
    folder.mkdir()
    return 1500.0 if settings.precision == "fp32" else 1000.0


def test_the_memory_is_that_of_a_process_which_does_nothing_but_train(tmp_path: Path) -> None:
    paths, run = StorePaths(tmp_path / "store"), tmp_path / "run"
    write_store(paths, TINY)
    own = torch.ones(300 << 20, dtype=torch.uint8)  # of this process, which is not what is measured
    settings = train_settings(TINY, "bf16", "cpu")
    peak = training_peak_mib(paths, TINY, run, settings, threads=1)
    assert 100 < peak < peak_mib() - own.nbytes / (1 << 20) / 2
    assert (run / BEST).exists()
    assert [path.name for path in run.glob("state-*")] == ["state-00000002.safetensors"]


def test_every_promise_is_measured_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.bench.student_rates, "ROUNDS", 2)
    monkeypatch.setitem(SIDE, "cpu", 64)
    monkeypatch.setattr(pipeline.bench.student, "training_peak_mib", measured_peak)
    before = torch.get_num_threads()
    result = bench_student(Wanted(1, before, "cpu", TINY), tmp_path, Console())
    data = result.data
    assert list(data["targets"]) == list(TARGETS)
    for key, found in data["targets"].items():
        assert found["value"] == data[key] > 0
        assert found["met"] == TARGETS[key].met(found["value"])
        assert key in result.text
    assert data["peak_gb"] == {"fp32": 1.572864, "bf16": 1.048576}
    assert data["peak_rss_gb"] == 1.572864
    assert data["train_bf16_per_s"] == pytest.approx(2 / data["step_s"]["bf16"])
    assert f"on cpu, {before} threads" in result.text
    assert torch.get_num_threads() == before
    assert list(tmp_path.iterdir()) == []


def test_the_sizes_are_swigs() -> None:
    """504 verbs, 190 roles, 9,929 nouns; CLIP ViT-L/14-336, BLIP-2's EVA tower, four texts of 77 tokens."""
    sizes = Sizes()
    assert [header.shape for header in sizes.headers()] == [(577, 1024), (257, 1408), (4, 77, 768)]
    vocabulary = make_vocabulary(sizes)
    assert [len(vocabulary.verbs), len(vocabulary.roles), len(vocabulary.nouns)] == [504, 190, 9929]
    assert sum(len(frame.roles) for frame in vocabulary.frames.values()) / 504 == pytest.approx(3.5)
    assert make_labels(sizes, 504).role_mask.sum() == 504 * 3.5
    samples = make_samples(vocabulary, sizes, "train")
    assert len(samples) % sizes.batch == 0
    boxes = [box for sample in samples for box in sample.boxes]
    assert 0.6 < sum(box is not None for box in boxes) / len(boxes) < 0.9


def test_the_parts_of_a_step_add_up_to_it(rates: StudentRates) -> None:
    stepper, batch = stepper_of(rates), rates.memory[0]
    stepper.step(batch)
    parts = StepParts(stepper)
    with parts.watching():
        start = time.perf_counter()
        stepper.step(batch)
        taken = time.perf_counter() - start
    stepper.step(batch)
    assert {"vision tokens in", "alignment", "optimizer"} <= parts.seconds.keys()
    assert all(seconds > 0 for seconds in parts.seconds.values())
    assert 0.5 * taken < sum(parts.seconds.values()) <= taken


def test_counted_products_are_those_of_forward_and_backward(rates: StudentRates) -> None:
    stepper = stepper_of(rates)
    one, two = (counted_flops(stepper, rates.train.read(rows)) for rows in ([0, 1], [0, 1, 2, 3]))
    vision_in = 2 * 2 * 5 * 6 * 16  # of two pictures, 5 tokens, 6 -> 16; once forward, once for the map
    assert one > 2 * vision_in
    assert 1.5 * one < two < 2 * one  # the maps' own products with their norms do not grow


def test_a_step_from_the_store_is_a_step_on_its_pictures(rates: StudentRates) -> None:
    rows = rates._rows(6, 1)
    assert [len(some) for some in rows] == [2] * 6
    assert sorted(rows[0] + rows[1]) == [0, 1, 2, 3]
    assert rates._rows(6, 2) != rows
    before = stepper_of(rates).optimizer.state_dict()["state"]
    assert rates._from_store(2, 1) > 0
    assert not before  # only bf16's stepper trained
    assert next(iter(rates.steppers["bf16"].optimizer.state.values()))["step"].item() == 3


def test_matrices_are_multiplied_in_both_formats() -> None:
    assert all(1e6 < rate < 1e16 for rate in matmul_rates(CPU, side=64).values())


def test_counts_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    message = r"^--steps 0 from 1, --threads 0 from 0: 0 uses all \d+ cores$"
    with pytest.raises(UserError, match=message):
        bench_student(Wanted(steps=0), tmp_path, Console())


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    wanted = Wanted(sizes=Sizes(pictures=10**9))
    with pytest.raises(UserError, match=r"needs 2163\.2 TiB in .* free: give --folder on another disk$"):
        bench_student(wanted, tmp_path, Console())
    with pytest.raises(UserError, match="is not a folder"):
        bench_student(Wanted(), tmp_path / "none", Console())
