"""The seams between whatever runs a student and whoever asks it: PyTorch's modules, or an export's graphs.

Axes: B pictures, Q vision tokens, d width.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.data.geometry import Geometry
from stages.student.network.labels import LabelVectors
from stages.student.network.model import Situation


class Recogniser(Protocol):
    """`stages.student.network.model.Student`, or an export of one."""

    training: bool

    @property
    def __call__(self) -> Any:
        """[B, Q, Ds] tokens and the labels of V verbs -> `Recognition`."""
        ...

    def situate_verbs(self, memory: Tensor, labels: LabelVectors, verb: Tensor) -> Situation:
        """[B, Q, d] and [B] rows of `labels` -> the situation of that verb in each picture."""
        ...

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...


class PictureEncoder(Protocol):
    """What prediction needs of the student's vision encoder, wherever that comes from."""

    geometry: Geometry

    @property
    def batch_size(self) -> int:
        """Pictures per call that suit the device."""
        ...

    def encode(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[B, size, size, 3] uint8 -> [B, Q, Ds] float32."""
        ...
