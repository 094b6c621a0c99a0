"""A student ready for use, whichever way it was kept: a checkpoint for PyTorch, or an export's graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cache.errors import UserError
from stages.data.geometry import Geometry
from stages.student.exporting.export_folder import VISION, open_export
from stages.student.exporting.onnx_student import OnnxStudent, OnnxVision
from stages.student.network.labels import LabelTexts, LabelVectors
from stages.student.network.recogniser import Recogniser
from stages.student.training.checkpoint import load_student
from stages.student.training.device import choose_device


@dataclass(frozen=True, slots=True)
class ReadyStudent:
    """recogniser     what answers
    label_vectors     label texts in the student's width
    texts             the labels it was trained with
    facts             what it is known to be
    device            that its tensors live on
    vision            its own vision encoder, where the export has one
    """

    recogniser: Recogniser
    label_vectors: Callable[[LabelTexts], LabelVectors]
    texts: LabelTexts
    facts: dict[str, Any]
    device: torch.device
    vision: OnnxVision | None = None


def open_student(path: Path, device: str) -> ReadyStudent:
    """A checkpoint's file or an export's folder.

    Raises UserError where it is missing, damaged or of another version, or the device is not there.
    """
    if path.is_dir():
        return _of_export(path, device)
    trained, place = load_student(path), choose_device(device)
    student = trained.student.to(place)
    texts = trained.labels

    def label_vectors(asked: LabelTexts) -> LabelVectors:
        return student.label_vectors(asked.to(place))

    return ReadyStudent(student, label_vectors, texts, trained.facts, place)


def _of_export(folder: Path, device: str) -> ReadyStudent:
    if device not in ("auto", "cpu"):
        raise UserError(
            f"device {device!r} is asked for, but an export runs on the CPU here; leave --device out, or "
            "give the checkpoint's file"
        )
    export = open_export(folder)
    student, facts = OnnxStudent(folder), export.checkpoint_facts
    vision = None
    if export.has_vision:
        geometry = Geometry.from_json(facts["geometry"])
        vision = OnnxVision(folder / VISION, geometry, facts["vision_dim"])
    return ReadyStudent(student, student.label_vectors, export.texts, facts, torch.device("cpu"), vision)
