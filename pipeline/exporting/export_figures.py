"""How good an exported student is beside PyTorch's, and how fast on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.machine import look_at_machine
from pipeline.workspace import Workspace
from stages.student.exporting.export_folder import VISION
from stages.student.exporting.latency import measure
from stages.student.exporting.onnx_student import OnnxStudent, OnnxVision
from stages.student.measuring.evaluate import evaluate
from stages.student.measuring.metrics import summarise
from stages.student.network.labels import LabelTexts, LabelVectors
from stages.student.network.recogniser import Recogniser
from stages.student.reading.dataset import StoreDataset
from stages.student.training.checkpoint import TrainedStudent


class Figures(NamedTuple):
    """Of the dev set, in the form of `metrics.json`."""

    pytorch: dict[str, Any]
    exported: dict[str, Any]


def dev_figures(
    workspace: Workspace, trained: TrainedStudent, dataset: StoreDataset, folder: Path
) -> Figures:
    exported = OnnxStudent(folder)
    ours = _evaluated(workspace, "PyTorch", trained.student, trained.student.label_vectors, trained, dataset)
    theirs = _evaluated(workspace, "the export", exported, exported.label_vectors, trained, dataset)
    return Figures(ours, theirs)


def _evaluated(
    workspace: Workspace,
    what: str,
    student: Recogniser,
    label_vectors: Callable[[LabelTexts], LabelVectors],
    trained: TrainedStudent,
    dataset: StoreDataset,
) -> dict[str, Any]:
    vocabulary, size = workspace.data.vocabulary, workspace.config.train.batch_size
    labels, cpu = label_vectors(trained.labels), torch.device("cpu")
    with workspace.console.progress(f"dev set by {what}", len(dataset)) as advance:
        found = evaluate(student, labels, dataset, vocabulary, size, cpu, advance=advance)
    subsets = [workspace.data.subset_of[verb] for verb in vocabulary.verbs]
    return summarise(found.results, subsets, "dev")


def latency_of(trained: TrainedStudent, tokens: Tensor, folder: Path, runs: int) -> dict[str, Any]:
    """One picture at a time: tokens to the situation of the likeliest verb; and the frame to tokens."""
    student = OnnxStudent(folder)
    labels, one = student.label_vectors(trained.labels), tokens[:1]

    def ask() -> None:
        seen = student(one, labels)
        student.situate_verbs(seen.memory, labels, seen.verb_logits.argmax(dim=-1))

    machine = look_at_machine()
    found: dict[str, Any] = {
        "cpu": machine.cpu,
        "threads": torch.get_num_threads(),
        "runs": runs,
        "student": measure(ask, runs).to_json(),
    }
    if (folder / VISION).is_file():
        geometry = trained.student.geometry
        vision = OnnxVision(folder / VISION, geometry, trained.facts["vision_dim"])
        frame = np.zeros((1, geometry.size, geometry.size, 3), np.uint8)
        found["vision"] = measure(lambda: vision.encode(frame), runs).to_json()
    return found
