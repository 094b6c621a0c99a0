"""What is kept of a student: weights to use it anywhere, and the state to train on exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stages.data.geometry import Geometry
from stages.data.vocabulary import Vocabulary
from stages.student.network.labels import LabelTexts
from stages.student.network.model import Student
from stages.student.network.queries import role_numbers
from stages.student.settings import StudentSettings
from stages.student.training.average import WeightAverage
from stages.student.training.tensor_file import load_tensors, save_tensors

BEST = "checkpoint-best.safetensors"


@dataclass(frozen=True, slots=True)
class Position:
    """Where training stands: `batch` batches of `epoch` are done, `step` steps in all.

    best    the selected figure of the best epoch so far, None before the first
    stale   epochs since then
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    stale: int = 0


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """A student ready for use, with the labels it was trained with and what it is known to be."""

    student: Student
    labels: LabelTexts
    facts: dict[str, Any]


def save_student(path: Path, student: Student, labels: LabelTexts, facts: Mapping[str, Any]) -> None:
    """Weights, label texts and facts: all that prediction needs beside the vision encoder."""
    tensors = {f"student.{name}": tensor for name, tensor in student.state_dict().items()}
    tensors |= {f"labels.{name}": tensor for name, tensor in labels.tensors().items()}
    save_tensors(path, tensors, facts)


def load_student(path: Path) -> TrainedStudent:
    """The student of a file, in evaluation mode on the CPU. Raises UserError (see `load_tensors`)."""
    tensors, facts = load_tensors(path)
    labels = LabelTexts(**_under(tensors, "labels."))
    student = Student(
        StudentSettings.model_validate(facts["student"]),
        Geometry.from_json(facts["geometry"]),
        facts["vision_dim"],
        labels.width,
        len(labels.noun),
        role_numbers(list(facts["verbs"].values())),
    )
    student.load_state_dict(_under(tensors, "student."))
    return TrainedStudent(student.eval(), labels, facts)


def student_facts(
    settings: StudentSettings,
    geometry: Geometry,
    vision_dim: int,
    vocabulary: Vocabulary,
    encoder: Mapping[str, Any],
) -> dict[str, Any]:
    """What a checkpoint says of the student itself; enough to build it and to name what it predicts."""
    return {
        "student": settings.model_dump(),
        "geometry": geometry.to_json(),
        "vision_dim": vision_dim,
        "vision_encoder": dict(encoder),
        "verbs": {verb: list(vocabulary.frames[verb].roles) for verb in vocabulary.verbs},
        "nouns": {noun: vocabulary.gloss(noun) for noun in vocabulary.nouns},
    }


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer,
    position: Position,
    facts: Mapping[str, Any],
    average: WeightAverage | None = None,
) -> None:
    """Everything the next step depends on: weights, their average, optimizer, random numbers, position."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.tensors.items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entries.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    device = next(model.parameters()).device
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        tensors["random.mps"] = torch.mps.get_rng_state()
    save_tensors(path, tensors, {**facts, "position": asdict(position)})


def load_state(
    path: Path, model: nn.Module, optimizer: Optimizer, average: WeightAverage | None = None
) -> Position:
    """Puts back what `save_state` wrote, exactly."""
    tensors, facts = load_tensors(path)
    model.load_state_dict(_under(tensors, "model."))
    if average is not None:
        average.restore(_under(tensors, "average."))
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "optimizer.").items():
        index, _, field = name.partition(".")
        entries.setdefault(int(index), {})[field] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
    torch.set_rng_state(tensors["random.cpu"])
    device = next(model.parameters()).device
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
    elif device.type == "mps" and "random.mps" in tensors:
        torch.mps.set_rng_state(tensors["random.mps"])
    return Position(**facts["position"])


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
