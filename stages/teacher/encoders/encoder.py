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
    pieces    [B] int, pieces that a text was encoded in; 1 = whole (see `stages.teacher.encoders.long_texts`)
    """

    tokens: Floats
    lengths: NDArray[np.int64]
    pooled: Floats
    cut: NDArray[np.int64]
    pieces: NDArray[np.int64]


class VisionEncoder(Protocol):
    """Turns framed pictures into tokens. `identity` enters every row's key (see `Engine.identity`)."""

    geometry: Geometry
    dim: int

    @property
    def batch_size(self) -> int:
        """Pictures per call that suit the device."""
        ...

    def identity(self) -> Mapping[str, Any]: ...

    def encode(self, frames: NDArray[np.uint8]) -> Floats:
        """[B, size, size, 3] uint8 -> [B, geometry.tokens, dim] float32."""
        ...

    def close(self) -> None:
        """Frees what `encode` loaded, on the device too; the next `encode` loads it again."""
        ...


class TextEncoder(Protocol):
    """Turns texts into tokens and one pooled vector each."""

    dim: int  # width D of a token
    pooled_dim: int  # width E of a pooled vector
    max_tokens: int
    edges: tuple[int, int]  # special tokens before and after the words of every text

    @property
    def batch_size(self) -> int:
        """Texts per call that suit the device."""
        ...

    def identity(self) -> Mapping[str, Any]: ...

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """[B] tokens of each text in full, special tokens included, without encoding it."""
        ...

    def encode(self, texts: Sequence[str]) -> TextTokens: ...

    def close(self) -> None:
        """Frees what `encode` loaded, on the device too; the next `encode` loads it again."""
        ...
