"""What each bank is made of: which rows, what decides them, and how a shard of them is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.bank_header import BankHeader, picture_key
from cache.bank_writer import ShardWriter
from cache.keys import fingerprint
from cache.kinds import KINDS
from cache.manifest import Part
from cache.paths import StorePaths
from cache.rationales import QuarantineRow, texts_key
from cache.text_counts import TextCounts
from cache.vectors import VectorKey, write_vectors
from stages.data.geometry import Geometry
from stages.reporter import Advance
from stages.teacher.embedding.frame_reader import FrameReader
from stages.teacher.encoders.encoder import Floats, TextEncoder, TextTokens, VisionEncoder


@dataclass(slots=True)
class Pooled:
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


class BankJob(Protocol):
    """One bank to fill. `family` names the pooled vectors written beside it, None = none."""

    header: BankHeader
    family: str | None
    failures: list[QuarantineRow]

    def row_keys(self) -> Mapping[str, str]:
        """Image -> key of everything that decides its row, for all rows the bank should have."""
        ...

    def fill(
        self,
        shard: ShardWriter,
        pooled: Pooled,
        images: Sequence[str],
        keys: Mapping[str, str],
        advance: Advance,
    ) -> None:
        """Adds the rows of one shard, and their pooled vectors. `keys` is `row_keys()`."""
        ...

    def close(self) -> None:
        """Ends what read ahead for it; its encoder stays open."""
        ...


def write_shard(
    job: BankJob,
    paths: StorePaths,
    images: Sequence[str],
    keys: Mapping[str, str],
    producer: dict[str, Any],
    advance: Advance,
) -> list[Part]:
    """Writes one shard of a bank and its vectors; returns their manifest entries. `keys` is `row_keys()`."""
    pooled = Pooled()
    with ShardWriter.open(paths, job.header, len(images), producer) as shard:
        job.fill(shard, pooled, images, keys, advance)
    return [*shard.parts(), *pooled.write(paths, job.header, job.family, producer)]


@dataclass(slots=True)
class VisionJob:
    """Vision tokens of pictures.

    digests  image -> digest of its file's bytes
    picture  image -> its file
    reader   lays pictures into the frame that the header's geometry describes
    """

    header: BankHeader
    family: str | None
    digests: Mapping[str, str]
    picture: Callable[[str], Path]
    encoder: VisionEncoder
    reader: FrameReader
    failures: list[QuarantineRow] = field(default_factory=list)

    def row_keys(self) -> Mapping[str, str]:
        mark = self.header.fingerprint
        return {image: picture_key(mark, digest) for image, digest in self.digests.items()}

    def fill(
        self,
        shard: ShardWriter,
        pooled: Pooled,
        images: Sequence[str],
        keys: Mapping[str, str],
        advance: Advance,
    ) -> None:
        for names, frames in self._batches(images):
            tokens = self.encoder.encode(frames)
            for name, row, vector in zip(names, tokens, pool(tokens, self.encoder.geometry), strict=True):
                shard.add(name, keys[name], row)
                if self.family:
                    pooled.add(VectorKey(name), keys[name], vector.copy())
            advance(len(names))

    def close(self) -> None:
        self.reader.close()

    def _batches(self, images: Sequence[str]) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
        """Full batches of framed pictures, the last one smaller; unreadable ones are left out and noted."""
        names: list[str] = []
        frames: list[NDArray[np.uint8]] = []
        found = self.reader.read(map(self.picture, images), ahead=2 * self.encoder.batch_size)
        for image, frame in zip(images, found, strict=True):
            if isinstance(frame, str):
                key = fingerprint([image, frame])
                self.failures.append(QuarantineRow(image, "embed-teacher", frame, 0, "", key))
                continue
            names.append(image)
            frames.append(frame)
            if len(names) >= self.encoder.batch_size:
                yield names, np.stack(frames)
                names, frames = [], []
        if names:
            yield names, np.stack(frames)


@dataclass(slots=True)
class TextJob:
    """Text tokens of the four rationales; `texts` has "" where a rationale is missing.

    counts  of the texts encoded so far
    """

    header: BankHeader
    family: str | None
    texts: Mapping[str, tuple[str, str, str, str]]
    encoder: TextEncoder
    failures: list[QuarantineRow] = field(default_factory=list)
    counts: TextCounts = field(default_factory=TextCounts)

    def row_keys(self) -> Mapping[str, str]:
        mark = self.header.fingerprint
        return {image: texts_key(mark, four) for image, four in self.texts.items()}

    def fill(
        self,
        shard: ShardWriter,
        pooled: Pooled,
        images: Sequence[str],
        keys: Mapping[str, str],
        advance: Advance,
    ) -> None:
        counts = TextCounts()
        for names in self._batches(images):
            encoded = self.encoder.encode([text for name in names for text in self.texts[name] if text])
            counts += _counted(encoded)
            row = 0  # of `encoded`
            for name in names:
                row = self._add(shard, pooled, name, keys[name], encoded, row)
            advance(len(names))
        shard.remarks |= counts.record()
        self.counts += counts

    def close(self) -> None:
        pass

    def _batches(self, images: Sequence[str]) -> Iterator[list[str]]:
        """Pictures whose texts together fill a batch of the encoder, or nearly."""
        names: list[str] = []
        size = 0
        for image in images:
            more = sum(map(bool, self.texts[image]))
            if names and size + more > self.encoder.batch_size:
                yield names
                names, size = [], 0
            names.append(image)
            size += more
        if names:
            yield names

    def _add(
        self, shard: ShardWriter, pooled: Pooled, image: str, key: str, encoded: TextTokens, row: int
    ) -> int:
        """Adds one picture, whose texts are the rows of `encoded` from `row` on; returns where they end.

        A missing rationale has length 0 and no tokens.
        """
        tokens = np.zeros(self.header.shape, np.float32)
        lengths = np.zeros(len(KINDS), np.int64)
        for i, (kind, text) in enumerate(zip(KINDS, self.texts[image], strict=True)):
            if not text:
                continue
            tokens[i, : encoded.tokens.shape[1]] = encoded.tokens[row]
            lengths[i] = encoded.lengths[row]
            pooled.add(VectorKey(image, *kind), key, encoded.pooled[row].copy())
            row += 1
        if not any(self.texts[image]):  # hides the vectors of texts that are no longer accepted
            pooled.add(VectorKey(image), key, np.zeros(self.encoder.pooled_dim, np.float32))
        shard.add(image, key, tokens, lengths)
        return row


def _counted(encoded: TextTokens) -> TextCounts:
    return TextCounts(
        texts=len(encoded.lengths),
        in_pieces=int((encoded.pieces > 1).sum()),
        cut=int((encoded.cut > 0).sum()),
        tokens_cut=int(encoded.cut.sum()),
    )


def pool(tokens: Floats, geometry: Geometry) -> Floats:
    """[B, T, D] -> [B, D]: the class token, or the mean of the patches where there is none."""
    return tokens[:, 0] if geometry.class_tokens else tokens.mean(axis=1)
