"""What each bank is made of: which rows, what decides them, and how a shard of them is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.banks import BankHeader, ShardWriter
from cache.keys import fingerprint
from cache.kinds import KINDS
from cache.manifest import Part
from cache.paths import StorePaths
from cache.rationales import QuarantineRow, texts_key
from cache.vectors import VectorKey, write_vectors
from stages.batches import batches
from stages.data.geometry import Geometry
from stages.data.pictures import PictureError, open_picture
from stages.reporter import Advance
from stages.teacher.encoder import Floats, TextEncoder, VisionEncoder


class BankJob(Protocol):
    """One bank to fill. `family` names the pooled vectors written beside it, None = none."""

    header: BankHeader
    family: str | None
    failures: list[QuarantineRow]
    tokens_cut: int

    def row_keys(self) -> Mapping[str, str]:
        """Image -> key of everything that decides its row, for all rows the bank should have."""
        ...

    def write_shard(
        self,
        paths: StorePaths,
        images: Sequence[str],
        keys: Mapping[str, str],
        producer: dict[str, Any],
        advance: Advance,
    ) -> list[Part]:
        """Writes one shard and its vectors; returns their manifest entries. `keys` is `row_keys()`."""
        ...


@dataclass(slots=True)
class _Pooled:
    """Pooled vectors of one shard, gathered until the shard is whole."""

    keys: list[VectorKey] = field(default_factory=list)
    row_keys: list[str] = field(default_factory=list)
    vectors: list[Floats] = field(default_factory=list)

    def add(self, key: VectorKey, row_key: str, vector: Floats) -> None:
        self.keys.append(key)
        self.row_keys.append(row_key)
        self.vectors.append(vector)

    def write(
        self, paths: StorePaths, header: BankHeader, family: str | None, producer: dict[str, Any]
    ) -> list[Part]:
        if family is None or not self.keys:
            return []
        vectors = np.stack(self.vectors)
        return [write_vectors(paths, family, self.keys, self.row_keys, vectors, header.fingerprint, producer)]


@dataclass(slots=True)
class VisionJob:
    """Vision tokens of pictures; `pictures` maps each image to its file and the digest of its bytes."""

    header: BankHeader
    family: str | None
    pictures: Mapping[str, tuple[Path, str]]
    encoder: VisionEncoder
    threads: int
    max_pixels: int
    failures: list[QuarantineRow] = field(default_factory=list)
    tokens_cut: int = 0

    def row_keys(self) -> Mapping[str, str]:
        mark = self.header.fingerprint
        return {image: fingerprint([mark, digest]) for image, (_, digest) in self.pictures.items()}

    def write_shard(
        self,
        paths: StorePaths,
        images: Sequence[str],
        keys: Mapping[str, str],
        producer: dict[str, Any],
        advance: Advance,
    ) -> list[Part]:
        pooled = _Pooled()
        with ShardWriter.open(paths, self.header, len(images), producer) as shard:
            for names, frames in self._frames(images):
                tokens = self.encoder.encode(frames)
                for name, row, vector in zip(names, tokens, pool(tokens, self.encoder.geometry), strict=True):
                    shard.add(name, keys[name], row)
                    pooled.add(VectorKey(name), keys[name], vector)
                advance(len(names))
        return [*shard.parts(), *pooled.write(paths, self.header, self.family, producer)]

    def _frames(self, images: Sequence[str]) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
        """Batches of framed pictures, read ahead in threads; unreadable ones are left out and noted."""
        size = self.encoder.batch_size
        with ThreadPoolExecutor(self.threads) as workers:
            loads = [lambda image=image: self._load(image) for image in images]
            loaded = zip(images, read_ahead(workers, loads, 2 * size), strict=True)
            for batch in batches(list(images), size):
                pairs = [next(loaded) for _ in batch]
                good = [(image, frame) for image, frame in pairs if isinstance(frame, np.ndarray)]
                for image, problem in pairs:
                    if isinstance(problem, str):
                        key = fingerprint([image, problem])
                        self.failures.append(QuarantineRow(image, "embed-teacher", problem, 0, "", key))
                if good:
                    yield [image for image, _ in good], np.stack([frame for _, frame in good])

    def _load(self, image: str) -> NDArray[np.uint8] | str:
        path, _ = self.pictures[image]
        try:
            return self.encoder.geometry.place(open_picture(path, self.max_pixels))
        except PictureError as problem:
            return problem.reason


@dataclass(slots=True)
class TextJob:
    """Text tokens of the four rationales; `texts` has "" where a rationale is missing."""

    header: BankHeader
    family: str | None
    texts: Mapping[str, tuple[str, str, str, str]]
    encoder: TextEncoder
    failures: list[QuarantineRow] = field(default_factory=list)
    tokens_cut: int = 0

    def row_keys(self) -> Mapping[str, str]:
        mark = self.header.fingerprint
        return {image: texts_key(mark, four) for image, four in self.texts.items()}

    def write_shard(
        self,
        paths: StorePaths,
        images: Sequence[str],
        keys: Mapping[str, str],
        producer: dict[str, Any],
        advance: Advance,
    ) -> list[Part]:
        pooled = _Pooled()
        with ShardWriter.open(paths, self.header, len(images), producer) as shard:
            for names in batches(list(images), max(1, self.encoder.batch_size // len(KINDS))):
                encoded = self.encoder.encode([text for name in names for text in self.texts[name]])
                self.tokens_cut += int(encoded.cut.sum())
                for i, name in enumerate(names):
                    rows = slice(i * len(KINDS), (i + 1) * len(KINDS))
                    self._add(shard, pooled, name, keys[name], encoded.tokens[rows], encoded.lengths[rows])
                    for kind, text, vector in zip(KINDS, self.texts[name], encoded.pooled[rows], strict=True):
                        if text:
                            pooled.add(VectorKey(name, *kind), keys[name], vector)
                    if not any(self.texts[name]):  # hides the vectors of texts that are no longer accepted
                        nothing = np.zeros(encoded.pooled.shape[1], np.float32)
                        pooled.add(VectorKey(name), keys[name], nothing)
                advance(len(names))
        return [*shard.parts(), *pooled.write(paths, self.header, self.family, producer)]

    def _add(
        self,
        shard: ShardWriter,
        pooled: _Pooled,
        image: str,
        key: str,
        tokens: Floats,
        lengths: NDArray[np.int64],
    ) -> None:
        """Pads the batch's token axis to the bank's; a missing rationale has length 0 and no tokens."""
        row = np.zeros(self.header.shape, np.float32)
        there = np.array([bool(text) for text in self.texts[image]])
        row[there, : tokens.shape[1]] = tokens[there]
        shard.add(image, key, row, np.where(there, lengths, 0))


def pool(tokens: Floats, geometry: Geometry) -> Floats:
    """[B, T, D] -> [B, D]: the class token, or the mean of the patches where there is none."""
    return tokens[:, 0] if geometry.class_tokens else tokens.mean(axis=1)


def read_ahead(workers: ThreadPoolExecutor, loads: Sequence[Callable[[], Any]], ahead: int) -> Iterator[Any]:
    """Results of `loads` in order, with up to `ahead` of them under way."""
    pending: deque[Future[Any]] = deque()
    for load in loads:
        pending.append(workers.submit(load))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
