"""A small vocabulary, samples drawn from it, and the published one where it is at hand."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from cache.kinds import KINDS
from stages.data.sample import Box, Sample
from stages.data.vocabulary import BLANK, OOV, PAD, VerbFrame, Vocabulary
from stages.data.vocabulary_files import read_vocabulary
from stages.teacher.asking.prompt import answer_schema, build_prompt
from stages.teacher.engines.engine import Contrast, Request

SWIG = Path(__file__).parents[3] / "shared" / "swig"

GLOSSES = {
    "n00000001": ("man",),
    "n00000002": ("woman",),
    "n00000003": ("horse",),
    "n00000004": ("race horse",),
    "n00000005": ("fence",),
    "n00000006": ("water",),
    "n00000007": ("outdoors",),
    "n00000008": ("swimming pool",),
    "n00000009": ("scissors",),
    "n00000010": ("person",),
    "n00000011": ("field",),
    "n00000012": ("wall",),
}
FRAMES = {
    "jumping": VerbFrame(
        ("agent", "source", "obstacle", "destination", "place"),
        "AGENT jumps from SOURCE over OBSTACLE into DESTINATION at PLACE",
        "to push oneself off the ground",
    ),
    "diving": VerbFrame(("agent", "place"), "AGENT dove at PLACE"),
    "swimming": VerbFrame(("agent", "place"), "AGENT swims at PLACE"),
    "building": VerbFrame(("agent", "item", "place"), "AGENT builds ITEM at PLACE"),
    "snowing": VerbFrame(("place",), "snows at PLACE"),
    "standing": VerbFrame(("agent",), "AGENT standing"),
    "jumping-over": VerbFrame(("agent", "obstacle"), "AGENT jumps over OBSTACLE"),
    "jumping-over-waving": VerbFrame(
        ("agent", "obstacle", "tool"), "AGENT jumps over OBSTACLE waving TOOL", ""
    ),
    "juggling": VerbFrame(("agent", "item"), ""),
}
VOCABULARY = Vocabulary(
    verbs=tuple(FRAMES),
    roles=tuple(dict.fromkeys(role for frame in FRAMES.values() for role in frame.roles)),
    nouns=(BLANK, *GLOSSES, OOV, PAD),
    frames=FRAMES,
    glosses=GLOSSES,
)


def jumping(nouns: dict[str, str] | None = None, boxes: dict[str, Box] | None = None) -> Sample:
    """A man jumping into water outdoors, or with other nouns in the roles."""
    filled = (
        {"agent": "n00000001", "destination": "n00000006", "place": "n00000007"} if nouns is None else nouns
    )
    where: dict[str, Box] = {"agent": (50.0, 20.0, 100.0, 80.0)} if boxes is None else boxes
    roles = FRAMES["jumping"].roles
    return Sample(
        image="jumping_1.jpg",
        split="train",
        verb="jumping",
        width=200,
        height=100,
        roles=roles,
        nouns=tuple((filled.get(role, ""),) * 3 for role in roles),
        boxes=tuple(where.get(role) for role in roles),
    )


def request(
    sample: Sample, contrast: Contrast, vocabulary: Vocabulary = VOCABULARY, seed: int = 0
) -> Request:
    return Request(
        key=sample.image,
        sample=sample,
        contrast=contrast,
        picture=Path(sample.image),
        picture_digest="0" * 32,
        prompt=build_prompt("rationales", sample, contrast, vocabulary),
        schema=answer_schema(KINDS),
        seed=seed,
    )


@lru_cache
def swig_vocabulary() -> Vocabulary:
    """The published vocabulary; skips the test where it is not at hand."""
    if not SWIG.is_dir():
        pytest.skip(f"needs the published vocabulary in {SWIG}")
    return read_vocabulary(SWIG)
