"""A store and samples small enough to know every number of."""

from __future__ import annotations

from pathlib import Path

from cache.bank_header import BankHeader
from cache.paths import StorePaths
from cache.rationales import append_rationales
from stages.data.geometry import Geometry
from stages.data.sample import Box, Sample, Split
from stages.data.vocabulary import VerbFrame, Vocabulary
from tests.cache.small_store import PRODUCER, empty_store, four, noise, write_shard

VOCABULARY = Vocabulary(
    verbs=("jumping", "riding", "sleeping"),
    roles=("agent", "obstacle", "place"),
    nouns=("blank", "n00000001", "n00000002", "oov", "Pad"),
    frames={
        "jumping": VerbFrame(("agent", "obstacle"), "AGENT jumps over OBSTACLE"),
        "riding": VerbFrame(("agent",), "AGENT rides"),
        "sleeping": VerbFrame(("agent", "place"), "AGENT sleeps at PLACE"),
    },
    glosses={"n00000001": ("man",), "n00000002": ("fence",)},
)
GEOMETRY = Geometry(size=32, mode="stretch", rows=2, cols=2, class_tokens=1)
VISION, TEXT = 6, 5  # widths


def sample(image: str, verb: str = "jumping", split: Split = "train", box: Box | None = None) -> Sample:
    """A picture of 200 x 100 pixels; `box` is the first role's, and the others have none."""
    roles = VOCABULARY.frames[verb].roles
    nouns = [("n00000001", "n00000001", ""), ("n99999999", "", "n00000002")][: len(roles)]
    return Sample(image, split, verb, 200, 100, roles, tuple(nouns), (box, None)[: len(roles)])


def make_store(root: Path, images: tuple[str, ...], texts: tuple[str, ...]) -> StorePaths:
    """Vision banks over `images`; rationales and their tokens over `texts`, of lengths 3, 0, 2 and 1."""
    paths = empty_store(root)
    for name in ("student-vision", "teacher-vision"):
        header = BankHeader(name, "fp32", (5, VISION), False, GEOMETRY.to_json(), {"encoder": name})
        write_shard(paths, header, {image: noise(5, VISION, seed=[name, image]) for image in images})
    header = BankHeader("rationale-text", "fp32", (4, 3, TEXT), True, None, {"encoder": "text"})
    write_shard(
        paths, header, {image: noise(4, 3, TEXT, seed=image) for image in texts}, lengths=[3, 0, 2, 1]
    )
    append_rationales(paths, [row for image in texts for row in four(image)], PRODUCER)
    return paths
