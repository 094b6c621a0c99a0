"""A data set of a few entries in SWiG's layout, small enough to break in every way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

FRAMES = {
    "jumping": ["agent", "obstacle"],
    "riding": ["agent", "vehicle", "place"],
    "sleeping": ["agent"],
    "cooking": ["agent", "food"],
}
NOUNS = {"n02374451": "horse", "n10287213": "man", "n03327234": "fence", "n02834778": "bicycle"}
TRAIN = {"jumping": 4, "riding": 3, "sleeping": 2, "cooking": 1}


def make_entry(verb: str) -> dict[str, Any]:
    roles = FRAMES[verb]
    boxes = {role: [1, 2, 30, 40] if role == "agent" else [-1, -1, -1, -1] for role in roles}
    frame = {role: "n02374451" if role == "agent" else "" for role in roles}
    return {"verb": verb, "width": 64, "height": 48, "bb": boxes, "frames": [frame, frame, frame]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A whole data set: 10 train, 4 dev and 4 test pictures of 64 x 48 pixels, four verbs."""
    folder = tmp_path / "swig"
    annotations = folder / "SWiG_jsons"
    (folder / "images_512").mkdir(parents=True)
    annotations.mkdir()
    (annotations / "verb_indices.txt").write_text("".join(f"{verb}\n" for verb in FRAMES))
    roles = sorted({role for order in FRAMES.values() for role in order})
    (annotations / "role_indices.txt").write_text("".join(f"{role}\n" for role in roles))
    classes = ["blank", *NOUNS, "oov", "Pad"]
    (annotations / "train_classes.csv").write_text("".join(f"{name},{i}\n" for i, name in enumerate(classes)))
    space = {
        "verbs": {v: {"order": r, "abstract": f"AGENT is {v}", "def": ""} for v, r in FRAMES.items()},
        "nouns": {noun: {"gloss": [gloss], "def": ""} for noun, gloss in NOUNS.items()},
    }
    (annotations / "imsitu_space.json").write_text(json.dumps(space))
    for split, number in (("train", None), ("dev", 1), ("test", 1)):
        entries = {
            f"{verb}_{split}{i}.jpg": make_entry(verb)
            for verb in FRAMES
            for i in range(number or TRAIN[verb])
        }
        (annotations / f"{split}.json").write_text(json.dumps(entries))
        for i, image in enumerate(entries):
            Image.new("RGB", (64, 48), (10 * i, 100, 200)).save(folder / "images_512" / image)
    return folder
