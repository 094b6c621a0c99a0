"""`mipd-pipe bench student`: training and evaluation at SWiG's real shapes, beside the machine's limits.

Every ratio is the median over rounds in which the compared things take turns, because a machine's speed
wanders more between two rounds than they differ.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cache.errors import UserError
from cache.paths import StorePaths
from pipeline.bench.promises import judge
from pipeline.bench.student_figures import TARGETS, text
from pipeline.bench.student_rates import StudentRates
from pipeline.bench.swig_world import Sizes, write_store
from pipeline.bench.training_memory import train_settings, training_peak_mib
from pipeline.console import Console
from pipeline.machine import usable_cores
from pipeline.result import Result
from pipeline.table import size
from stages.student.training.device import choose_device
from stages.student.training.precision import PRECISIONS, Precision

_MIB, _GB = 1 << 20, 1e9
# On disk at once: the banks, and of a training run that is measured its state and best checkpoint.
_CHECKPOINTS = 800 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured, and on what.

    steps    timed steps of a pass; a pass of each kind is a round
    threads  that torch computes with; 0 = all cores this process may use
    device   as `train.device`
    """

    steps: int = 3
    threads: int = 0
    device: str = "auto"
    sizes: Sizes = field(default_factory=Sizes)


def bench_student(wanted: Wanted, folder: Path, console: Console) -> Result:
    """Figures of the student in `folder`, where a small store lies while it runs.

    Raises UserError for counts that make no sense, a device that is not there, and a disk without room.
    """
    if wanted.steps < 1 or wanted.threads < 0:
        raise UserError(
            f"--steps {wanted.steps} from 1, --threads {wanted.threads} from 0: 0 uses all "
            f"{usable_cores()} cores"
        )
    device = choose_device(wanted.device)
    _require_room(folder, wanted.sizes)
    threads = wanted.threads or usable_cores()
    with tempfile.TemporaryDirectory(prefix="mipd-bench-", dir=folder) as inside, _computing_with(threads):
        paths = StorePaths(Path(inside) / "store")
        console.say(f"a store of {wanted.sizes.pictures} pictures of SWiG's shapes")
        write_store(paths, wanted.sizes)
        peaks = _peaks(paths, wanted, threads, Path(inside), console)
        rates = StudentRates.build(paths, wanted.sizes, device)
        data = rates.measure(wanted.steps, console)
    figures = data.pop("figures") | {"peak_rss_gb": max(peaks.values())}
    figures = {key: figures[key] for key in TARGETS}
    place = {"threads": threads, "device": str(device), "precision": rates.precision, "peak_gb": peaks}
    data = {**figures, "targets": judge(figures, TARGETS), **data, **place}
    return Result(text(data), data)


def _require_room(folder: Path, sizes: Sizes) -> None:
    if not folder.is_dir():
        raise UserError(f"--folder {folder} is not a folder; give one to write a small store into")
    rows = sum(header.row_bytes for header in sizes.headers())
    needed, free = rows * sizes.pictures + _CHECKPOINTS, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"`bench student` needs {size(needed)} in {folder}, which has {size(free)} free: give --folder "
            "on another disk"
        )


@contextmanager
def _computing_with(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _peaks(
    paths: StorePaths, wanted: Wanted, threads: int, folder: Path, console: Console
) -> dict[Precision, float]:
    """Gigabytes of a process that trains, in each format; measured first, while this process is small."""
    peaks: dict[Precision, float] = {}
    for kind in PRECISIONS:
        console.say(f"memory of train-student in {kind}")
        run = folder / f"train-{kind}"
        settings = train_settings(wanted.sizes, kind, wanted.device)
        peaks[kind] = training_peak_mib(paths, wanted.sizes, run, settings, threads) * _MIB / _GB
        shutil.rmtree(run)
    return peaks
