"""One annotated picture: the record that everything else passes along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "dev", "test"]
Subset = Literal["seen", "rare", "unseen"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
SUBSETS: tuple[Subset, ...] = ("seen", "rare", "unseen")

Box = tuple[float, float, float, float]  # x1 y1 x2 y2 in pixels of the annotated picture
ANNOTATORS = 3  # SWiG: three people name the noun of every role
MAX_ROLES = 6  # SWiG: no verb asks for more


@dataclass(frozen=True, slots=True)
class Sample:
    """One annotated picture.

    image     file name in the pictures folder; the key of this sample in every file of the store
    roles     the verb's roles, in the vocabulary's order; R of them, 1 to 6
    nouns     [R][3] WordNet ids, one per annotator; "" = this annotator left the role unfilled
    boxes     [R] grounding of each role, or None
    captions  ready-made texts in the order of `cache.kinds.KINDS` ("" = absent), or None (Ov-SWiG ships them)
    """

    image: str
    split: Split
    verb: str
    width: int
    height: int
    roles: tuple[str, ...]
    nouns: tuple[tuple[str, str, str], ...]
    boxes: tuple[Box | None, ...]
    captions: tuple[str, str, str, str] | None = None
