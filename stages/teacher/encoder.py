"""The seam between the banks and whatever turns pictures and texts into vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.data.geometry import Geometry

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Encoded texts. B texts, L = longest of this batch, D = the encoder's width.

    tokens    [B, L, D] float32, zero past a text's end
    lengths   [B] int, tokens kept of each text
    pooled    [B, E] float32, one unit-length vector per text, in the space labels are compared in
    cut       [B] int, tokens that did not fit the encoder's limit and were dropped
    """

    tokens: Floats
    lengths: NDArray[np.int64]
    pooled: Floats
    cut: NDArray[np.int64]


class VisionEncoder(Protocol):
    """Turns framed pictures into tokens. `identity` enters every row's key (see `Engine.identity`)."""

    geometry: Geometry
    dim: int
    batch_size: int  # pictures per call that suit the device

    def identity(self) -> Mapping[str, Any]: ...

    def encode(self, frames: NDArray[np.uint8]) -> Floats:
        """[B, size, size, 3] uint8 -> [B, geometry.tokens, dim] float32."""
        ...


class TextEncoder(Protocol):
    """Turns texts into tokens and one pooled vector each."""

    dim: int  # width D of a token
    pooled_dim: int  # width E of a pooled vector
    max_tokens: int
    batch_size: int  # texts per call that suit the device

    def identity(self) -> Mapping[str, Any]: ...

    def encode(self, texts: Sequence[str]) -> TextTokens: ...
