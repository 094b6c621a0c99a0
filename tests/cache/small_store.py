"""A store of four pictures with a file of every kind, laid out as stage one lays it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.bank_header import BankHeader, write_header
from cache.bank_writer import ShardWriter
from cache.codec import StorageType
from cache.index import build_index
from cache.keys import derive_number
from cache.kinds import KINDS, Kind
from cache.manifest import add_parts, editing, put_in_force
from cache.paths import StorePaths
from cache.rationales import (
    QuarantineRow,
    RationaleRow,
    append_quarantine,
    append_rationales,
    texts_key,
    usable_texts,
)
from cache.vectors import PICTURES, RATIONALES, VectorKey, write_labels, write_vectors

PRODUCER = {"command": "test"}
IMAGES = ("jumping_1.jpg", "jumping_2.jpg", "riding_1.jpg", "žába_1.jpg")
HELD_OUT = ("sleeping", "water skiing")
VISION = "student-vision"
TEXT = "rationale-text"


def row(image: str, kind: Kind = KINDS[0], key: str = "key", **changes: Any) -> dict[str, Any]:
    """An accepted rationale with whatever is changed."""
    plain = RationaleRow(
        image=image,
        split="train",
        verb="jumping",
        aspect=kind.aspect,
        polarity=kind.polarity,
        attempt=0,
        text=f"{kind.field} of {image}",
        contrast_verb="riding",
        contrast_nouns="{}",
        status="accepted",
        judge="rules-1",
        score=None,
        reason="",
        request_key=key,
        teacher="template",
        revision="1",
        prompt_id="p",
        sampling="{}",
        seed=7,
        tokens_in=10,
        tokens_out=5,
        seconds=0.5,
        finish_reason="stop",
    )
    return asdict(replace(plain, **changes))


def four(image: str, key: str = "key", **changes: Any) -> list[dict[str, Any]]:
    """The four rationales of one version of a picture."""
    return [row(image, kind, key, **changes) for kind in KINDS]


def noise(*shape: int, seed: object = 0) -> NDArray[np.float32]:
    """Reproducible numbers around zero."""
    generator = np.random.default_rng(derive_number("noise", seed))
    return generator.standard_normal(shape).astype(np.float32)


def bank_header(
    name: str = VISION,
    storage: StorageType = "fp32",
    shape: tuple[int, ...] = (3, 8),
    masked: bool = False,
    encoder: str = "tiny",
) -> BankHeader:
    return BankHeader(name, storage, shape, masked, None if masked else {"size": 32}, {"encoder": encoder})


def empty_store(root: Path) -> StorePaths:
    paths = StorePaths(root)
    with editing(paths) as cell:
        cell[0] = replace(cell[0], data_fingerprint="d", held_out_verbs=HELD_OUT)
    return paths


def write_shard(
    paths: StorePaths,
    header: BankHeader,
    rows: Mapping[str, NDArray[np.float32]],
    keys: Mapping[str, str] | None = None,
    lengths: Sequence[int] | None = None,
) -> None:
    """Puts the header in force and adds one shard; row keys are all zero where none are given."""
    write_header(paths, header)
    put_in_force(paths, header.name, header.fingerprint)
    with ShardWriter.open(paths, header, len(rows), PRODUCER) as shard:
        for image, tokens in rows.items():
            key = keys[image] if keys else "00" * 16
            shard.add(image, key, tokens, None if lengths is None else np.array(lengths))
    add_parts(paths, shard.parts())


def pool(
    paths: StorePaths, header: BankHeader, family: str, keys: Mapping[VectorKey, str], dim: int = 8
) -> None:
    """Adds one part of pooled vectors (key -> row key), as made from the rows of a bank."""
    put_in_force(paths, family, header.fingerprint)
    vectors = np.stack([noise(dim, seed=key.id) for key in keys])
    part = write_vectors(
        paths, family, list(keys), list(keys.values()), vectors, header.fingerprint, PRODUCER
    )
    add_parts(paths, [part])


def embed_texts(paths: StorePaths, images: Sequence[str] = IMAGES) -> None:
    """Brings the text bank, its vectors and its index up to the usable rationales."""
    header = bank_header(TEXT, shape=(4, 5, 8), masked=True)
    texts = usable_texts(paths, images)
    keys = {image: texts_key(header.fingerprint, texts[image]) for image in images}
    rows = {image: noise(4, 5, 8, seed=image) for image in images}
    write_shard(paths, header, rows, keys, [5, 4, 3, 2])
    vectors: dict[VectorKey, str] = {}
    for image in images:
        kinds = [kind for kind, text in zip(KINDS, texts[image], strict=True) if text]
        vectors |= dict.fromkeys([VectorKey(image, *k) for k in kinds] or [VectorKey(image)], keys[image])
    pool(paths, header, RATIONALES, vectors)
    build_index(paths, RATIONALES, PRODUCER)


def embed_pictures(paths: StorePaths, images: Sequence[str] = IMAGES, version: int = 0) -> None:
    """Adds one shard of the vision bank with its vectors, and brings their index up to date."""
    header = bank_header(VISION, "bf16")
    keys = {image: f"{derive_number(image, version):032x}" for image in images}
    write_shard(paths, header, {image: noise(3, 8, seed=image) for image in images}, keys)
    pool(paths, header, PICTURES, {VectorKey(image): keys[image] for image in images})
    build_index(paths, PICTURES, PRODUCER)


def small_store(root: Path) -> StorePaths:
    """Two rationale parts, one rejected attempt, a failure, two banks, labels, vectors, indexes."""
    paths = empty_store(root)
    retried = four(IMAGES[2])
    retried[0] |= {"status": "rejected", "reason": "too short", "text": "no"}
    retried.append(row(IMAGES[2], attempt=1))
    append_rationales(paths, [*four(IMAGES[0]), *four(IMAGES[1])], PRODUCER)
    append_rationales(paths, [*retried, *four(IMAGES[3])], PRODUCER)
    append_quarantine(paths, [QuarantineRow("bad.jpg", "data", "truncated", 0, "", "f")], PRODUCER)
    put_in_force(paths, "verbs", "v")
    labels = write_labels(paths, "verbs", ["jumping", "riding"], ["a", "b"], noise(2, 8), "v", PRODUCER)
    add_parts(paths, [labels])
    embed_pictures(paths, IMAGES[:3])
    embed_pictures(paths, IMAGES[3:])
    embed_texts(paths)
    return paths
