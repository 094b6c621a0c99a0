"""Writes a student as ONNX graphs, in which labels are inputs: any verbs with any roles can be asked for.

Axes: B pictures, Q vision tokens, V verbs, R roles, N labels or nouns, S pixels of a frame's side, E width of
a label's text, d width. B, V and N take any size in the graphs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from cache.errors import UserError
from stages.data.geometry import Geometry
from stages.data.sample import MAX_ROLES
from stages.student.exporting.export_folder import LABEL_GRAPH, RECOGNISE, SITUATE, VISION
from stages.student.network.labels import LabelVectors
from stages.student.network.model import Recognition, Situation, Student

NEEDED = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_FILE = (
    3 << 29
)  # bytes of weights; a protobuf file ends at 2 GiB, so larger ones get a file beside it


def require_exporter() -> None:
    """Raises UserError where a package that export needs is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"export needs {', '.join(missing)}, not installed here: `pip install {' '.join(missing)}`, or "
            '`pip install ".[export]"` in the folder of mipd-pipe'
        )


def write_student_graphs(student: Student, label_dim: int, vision_dim: int, folder: Path) -> None:
    """The three graphs of `export_folder`; the student must be in evaluation mode and on the CPU.

    Raises UserError where its queries are no text, see `stages.student.network.queries`.
    """
    student.role_query.require_text("be exported, for the graphs are asked by texts")
    d = student.label_map.shape[1]
    text = torch.randn(3, label_dim)
    _write(folder / LABEL_GRAPH, _Labels(student), {"text": text}, {"text": "labels"}, ["vector"])
    seen = {"vision": torch.randn(2, student.geometry.tokens, vision_dim), "verbs": torch.randn(3, d)}
    _write(
        folder / RECOGNISE,
        _Recognise(student),
        seen,
        {"vision": "pictures", "verbs": "verbs"},
        ["memory", "verb", "verb_logits"],
    )
    asked = {
        "memory": torch.randn(2, student.geometry.tokens, d),
        "verb": torch.randn(2, d),
        "roles": torch.randn(2, MAX_ROLES, d),
        "role_mask": torch.tensor([[True] * MAX_ROLES, [True] + [False] * (MAX_ROLES - 1)]),
        "nouns": torch.randn(3, d),
    }
    axes = {name: "nouns" if name == "nouns" else "pictures" for name in asked}
    outputs = ["role_vectors", "noun_logits", "open_logits", "boxes", "box_logits"]
    _write(folder / SITUATE, _Situate(student), asked, axes, outputs)


def write_vision_graph(encoder: nn.Module, geometry: Geometry, folder: Path) -> None:
    """encoder: [B, S, S, 3] uint8 -> [B, Q, Ds] float32, on the CPU."""
    frames = torch.zeros(2, geometry.size, geometry.size, 3, dtype=torch.uint8)
    _write(folder / VISION, encoder, {"frames": frames}, {"frames": "pictures"}, ["tokens"])


class _Labels(nn.Module):
    """[N, E] -> [N, d]: `Student.map_labels`."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, text: Tensor) -> Tensor:
        return self.student.map_labels(text)


class _Recognise(nn.Module):
    """[B, Q, Ds], [V, d] -> memory [B, Q, d], verb [B, d], verb_logits [B, V]."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, vision: Tensor, verbs: Tensor) -> tuple[Tensor, ...]:
        seen: Recognition = self.student(vision, _as_labels(verbs))
        return seen.memory, seen.verb, seen.verb_logits


class _Situate(nn.Module):
    """As `Student.situate`, its outputs in the order of the graph's."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(
        self, memory: Tensor, verb: Tensor, roles: Tensor, role_mask: Tensor, nouns: Tensor
    ) -> tuple[Tensor, ...]:
        said: Situation = self.student.situate(memory, verb, roles, role_mask, nouns)
        return said.roles, said.noun_logits, said.open_logits, said.boxes, said.box_logits


def _as_labels(rows: Tensor) -> LabelVectors:
    """Labels of which one side alone is read: the rows stand for verbs, roles and nouns alike."""
    mask = torch.ones(rows.shape[0], 1, dtype=torch.bool)
    return LabelVectors(verb=rows, role=rows[:, None], role_mask=mask, noun=rows)


def _write(
    path: Path,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, str],
    outputs: Sequence[str],
) -> None:
    """`axes` names the first axis of each input, which takes any size; the others are as in the example."""
    dims = {name: torch.export.Dim(name) for name in dict.fromkeys(axes.values())}
    weights = sum(weight.numel() * weight.element_size() for weight in module.parameters())
    with _quiet():
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: dims[axes[name]]} for name in inputs),
            external_data=weights > _LARGEST_FILE,
            dynamo=True,
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own parts, and of torchvision where that is missing; errors still come."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
