"""How much memory a process takes that trains."""

from __future__ import annotations

from pathlib import Path

import torch

from cache.paths import StorePaths
from pipeline.bench.child import in_new_process, peak_mib
from pipeline.bench.swig_world import Sizes, training_data
from stages.reporter import SilentReporter
from stages.student.settings import LossSettings, TrainSettings
from stages.student.training.precision import Precision
from stages.student.training.train import Trainer


def training_peak_mib(
    paths: StorePaths, sizes: Sizes, folder: Path, settings: TrainSettings, threads: int
) -> float:
    """Peak of a new process that does what `train-student` does: one epoch over the store, the selection on
    a batch of dev pictures, the best checkpoint and the state written to `folder`.
    """
    peak: float = in_new_process(_train, paths, sizes, folder, settings, threads)
    return peak


def train_settings(sizes: Sizes, precision: Precision, device: str) -> TrainSettings:
    return TrainSettings(epochs=1, batch_size=sizes.batch, precision=precision, device=device)


def _train(paths: StorePaths, sizes: Sizes, folder: Path, settings: TrainSettings, threads: int) -> float:
    torch.set_num_threads(threads)
    data = training_data(paths, sizes, dev=sizes.batch)
    Trainer(data, sizes.student, LossSettings(), settings, folder, SilentReporter()).run()
    return peak_mib()
