"""What the rows of each bank have in common, by the encoder that fills it."""

from __future__ import annotations

from dataclasses import replace

from cache.bank_header import RATIONALE_TEXT, BankHeader, mirrored
from cache.codec import StorageType
from cache.kinds import KINDS
from stages.data.geometry import Geometry
from stages.teacher.encoders.encoder import TextEncoder, VisionEncoder


def vision_header(name: str, encoder: VisionEncoder, storage: StorageType) -> BankHeader:
    return BankHeader(
        name=name,
        storage=storage,
        shape=(encoder.geometry.tokens, encoder.dim),
        masked=False,
        geometry=encoder.geometry.to_json(),
        encoder=dict(encoder.identity()),
    )


def mirrored_header(plain: BankHeader) -> BankHeader:
    """Of the second view of a vision bank: the same encoder, shown every picture mirrored left to right."""
    assert plain.geometry is not None
    geometry = Geometry.from_json(plain.geometry)
    flipped = replace(geometry, flip=not geometry.flip)
    return replace(plain, name=mirrored(plain.name), geometry=flipped.to_json())


def text_header(encoder: TextEncoder, storage: StorageType) -> BankHeader:
    return BankHeader(
        name=RATIONALE_TEXT,
        storage=storage,
        shape=(len(KINDS), encoder.max_tokens, encoder.dim),
        masked=True,
        geometry=None,
        encoder=dict(encoder.identity()),
    )
