"""A data set of as many pictures as a benchmark wants: the drawn one, its training pictures used again."""

from __future__ import annotations

import json
import os
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from stages.data.scenes import ANNOTATIONS, PICTURES, draw_data_set

DRAWN = 300


def make_data_set(folder: Path, pictures: int) -> None:
    """Writes a data set with that many training pictures in SWiG's layout.

    Each is a link to a drawn picture under a name of its own, so that 20,000 of them take no room.
    """
    draw_data_set(folder, DRAWN, seed=0)
    annotations, images = folder / ANNOTATIONS / "train.json", folder / PICTURES
    drawn: dict[str, Any] = json.loads(annotations.read_bytes())
    entries = {}
    for number, (image, entry) in enumerate(islice(cycle(drawn.items()), pictures)):
        name = f"bench_{number:06d}{Path(image).suffix}"
        os.link(images / image, images / name)
        entries[name] = entry
    annotations.write_text(json.dumps(entries))


def add_picture(folder: Path) -> None:
    """One more training picture, after all others."""
    annotations, images = folder / ANNOTATIONS / "train.json", folder / PICTURES
    entries: dict[str, Any] = json.loads(annotations.read_bytes())
    image, entry = next(iter(entries.items()))
    name = f"new_{len(entries):06d}{Path(image).suffix}"
    os.link(images / image, images / name)
    annotations.write_text(json.dumps({**entries, name: entry}))
