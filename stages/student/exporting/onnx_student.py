"""An exported student, with the same two questions as PyTorch's.

Axes: B pictures, Q vision tokens, V verbs, R roles, N labels, E width of a label's text, d width.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.data.geometry import Geometry
from stages.student.exporting.export_folder import LABEL_GRAPH, RECOGNISE, SITUATE, load_centres
from stages.student.exporting.onnx_runtime import Graph
from stages.student.network.labels import LabelTexts, LabelVectors
from stages.student.network.model import Recognition, Situation


class OnnxStudent:
    """A `stages.student.network.recogniser.Recogniser` over the graphs in a folder; it runs on the CPU."""

    training = False

    def __init__(self, folder: Path) -> None:
        self._label, self._recognise, self._situate = (
            Graph(folder / name) for name in (LABEL_GRAPH, RECOGNISE, SITUATE)
        )
        self._centres = load_centres(folder)

    def label_vectors(self, texts: LabelTexts) -> LabelVectors:
        """Label texts in the student's width and of unit length."""
        verb, role, noun = (
            self._label.run(text=(text.float() - centre).flatten(0, -2))["vector"].reshape(
                *text.shape[:-1], -1
            )
            for text, centre in zip((texts.verb, texts.role, texts.noun), self._centres, strict=True)
        )
        role = role * texts.role_mask[..., None]
        return LabelVectors(verb, role, texts.role_mask, noun, texts.verb_bias)

    def __call__(self, vision: Tensor, labels: LabelVectors) -> Recognition:
        """[B, Q, Ds] in any float type -> verb logits over every verb of `labels`."""
        seen = Recognition(**self._recognise.run(vision=vision.float(), verbs=labels.verb))
        return replace(seen, verb_logits=labels.raised(seen.verb_logits))

    def situate_verbs(self, memory: Tensor, labels: LabelVectors, verb: Tensor) -> Situation:
        """[B, Q, d] and [B] rows of `labels` -> the situation of that verb in each picture."""
        said = self._situate.run(
            memory=memory,
            verb=labels.verb[verb],
            roles=labels.role[verb],
            role_mask=labels.role_mask[verb],
            nouns=labels.noun,
        )
        return Situation(roles=said.pop("role_vectors"), **said)

    def train(self, mode: bool = True) -> OnnxStudent:
        """There is nothing to switch: an export only answers."""
        return self

    def eval(self) -> OnnxStudent:
        return self


class OnnxVision:
    """The student's vision encoder within an export: a `VisionEncoder` for prediction."""

    batch_size = 8  # pictures per call; more is no faster on a CPU

    def __init__(self, path: Path, geometry: Geometry, dim: int) -> None:
        self._graph = Graph(path)
        self.geometry, self.dim = geometry, dim

    def encode(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[B, size, size, 3] uint8 -> [B, Q, dim] float32."""
        tokens: NDArray[np.float32] = self._graph.run(frames=torch.from_numpy(frames))["tokens"].numpy()
        return tokens
