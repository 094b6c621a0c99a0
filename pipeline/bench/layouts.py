"""Made-up tokens of SWiG's real shapes, and the ways to keep them that `bench store` compares.

A layout writes pictures by number and reads batches of them. Every layout's batch is one tensor a bank on
the CPU, which is what a training step takes: fp32 from `.pt` files, bf16 from a bf16 store, fp32 from an
int8 one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.atomic import sync_file
from cache.bank_header import RATIONALE_TEXT, STUDENT_VISION, TEACHER_VISION, BankHeader, write_header
from cache.bank_reader import BankReader
from cache.bank_writer import ShardWriter
from cache.codec import StorageType
from cache.manifest import add_parts, editing, put_in_force
from cache.paths import StorePaths
from stages.batches import batches
from stages.student.network.tokens import to_tensor

# CLIP ViT-L/14-336, BLIP-2's EVA tower, and four rationales in CLIP-L's text encoder.
SHAPES: Mapping[str, tuple[int, ...]] = {
    STUDENT_VISION: (577, 1024),
    TEACHER_VISION: (257, 1408),
    RATIONALE_TEXT: (4, 77, 768),
}
VALUES = sum(int(np.prod(shape)) for shape in SHAPES.values())  # of one picture
_DRAWN = 4  # pictures whose tokens are drawn; all others are these, turned


class Tokens:
    """Tokens of any picture: normal, with channels of very different size as encoders have them."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> None:
        random = np.random.default_rng(0)
        self._drawn = {
            bank: random.standard_normal((_DRAWN, *shape), np.float32)
            * random.lognormal(0, 0.5, shape[-1]).astype(np.float32)
            for bank, shape in shapes.items()
        }

    def of(self, bank: str, picture: int) -> NDArray[np.float32]:
        return np.roll(self._drawn[bank][picture % _DRAWN], picture, axis=-2)


class Layout(Protocol):
    """One way to keep the pictures. `seconds` is what writing has taken, until it was safe on disk."""

    seconds: float

    @property
    def name(self) -> str: ...

    def write(self, tokens: Tokens, pictures: Sequence[int]) -> None: ...

    def files(self) -> list[Path]: ...

    def read(self, pictures: Sequence[int]) -> list[Tensor]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class FilePerPicture:
    """What the authors' released code keeps: an fp32 `.pt` file for each picture and bank."""

    folder: Path
    name: str = "pt"
    seconds: float = 0.0

    def write(self, tokens: Tokens, pictures: Sequence[int]) -> None:
        for bank in SHAPES:
            (self.folder / bank).mkdir(parents=True, exist_ok=True)
            for picture in pictures:
                tensor = torch.from_numpy(tokens.of(bank, picture))
                start = time.perf_counter()
                torch.save(tensor, self._path(bank, picture))
                self.seconds += time.perf_counter() - start
        start = time.perf_counter()
        for path in (self._path(bank, picture) for bank in SHAPES for picture in pictures):
            sync_file(path)
        self.seconds += time.perf_counter() - start

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.pt"))

    def read(self, pictures: Sequence[int]) -> list[Tensor]:
        return [
            torch.stack([torch.load(self._path(bank, picture)) for picture in pictures]) for bank in SHAPES
        ]

    def close(self) -> None:
        """Nothing stays open."""

    def _path(self, bank: str, picture: int) -> Path:
        return self.folder / bank / f"{picture:06d}.pt"


@dataclass(slots=True)
class Store:
    """This project's banks, written and read as stage one and training do."""

    folder: Path
    storage: StorageType
    rows_per_shard: int
    seconds: float = 0.0
    _readers: list[BankReader] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.storage

    @property
    def paths(self) -> StorePaths:
        return StorePaths(self.folder)

    def write(self, tokens: Tokens, pictures: Sequence[int]) -> None:
        self._begin()
        for header in self._headers():
            for some in batches(pictures, self.rows_per_shard):
                rows = ((picture, tokens.of(header.name, picture)) for picture in some)
                self.seconds += _write_shard(self.paths, header, rows, len(some))

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.lmdb"))

    def read(self, pictures: Sequence[int]) -> list[Tensor]:
        images = [_image(picture) for picture in pictures]
        return [to_tensor(reader.read_batch(images)) for reader in self._open()]

    def close(self) -> None:
        """Of the readers only their lists of pictures are kept, as between two batches far apart."""
        for reader in self._readers:
            reader.close()

    def _open(self) -> list[BankReader]:
        if not self._readers:
            self._readers = [BankReader(self.paths, bank) for bank in SHAPES]
        return self._readers

    def _begin(self) -> None:
        if not self.paths.manifest.exists():
            with editing(self.paths) as cell:
                cell[0] = replace(cell[0], data_fingerprint="bench")
            for header in self._headers():
                write_header(self.paths, header)
                put_in_force(self.paths, header.name, header.fingerprint)

    def _headers(self) -> list[BankHeader]:
        return [
            BankHeader(bank, self.storage, shape, bank == RATIONALE_TEXT, None, {"encoder": "bench"})
            for bank, shape in SHAPES.items()
        ]


def _write_shard(
    paths: StorePaths, header: BankHeader, rows: Iterator[tuple[int, NDArray[np.float32]]], count: int
) -> float:
    """Seconds it took, but for the making up of tokens."""
    start = time.perf_counter()
    making = 0.0
    producer: dict[str, Any] = {"command": "bench store"}
    with ShardWriter.open(paths, header, count, producer) as shard:
        for _ in range(count):
            before = time.perf_counter()
            picture, tokens = next(rows)
            making += time.perf_counter() - before
            lengths = np.full(header.shape[0], header.shape[1]) if header.masked else None
            shard.add(_image(picture), f"{picture:032x}", tokens, lengths)
    add_parts(paths, shard.parts())
    return time.perf_counter() - start - making


def _image(picture: int) -> str:
    return f"picture_{picture:06d}.jpg"
