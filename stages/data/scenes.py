"""The built-in data set: drawn scenes on disk, in the layout that SWiG publishes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache.atomic import TEMPORARY, disk_fault, sync_folder, write_bytes
from cache.errors import UserError
from stages.data.sample import ANNOTATORS, SPLITS
from stages.data.scene_grammar import ChosenVerbs, VerbParts
from stages.data.scene_layout import Drawing, draw_scene
from stages.data.scene_nouns import GLOSSES
from stages.data.scene_plan import FEWEST_IMAGES, Planned, planned_scenes, verbs_for
from stages.data.vocabulary import BLANK, OOV, PAD

VERSION = 1  # of the drawings: raise it when the same seed gives other pictures
RECORD = "drawn.json"  # written last; a folder that holds it is one this module may replace
PICTURES, ANNOTATIONS = "images_512", "SWiG_jsons"
JPEG_QUALITY = 92
NO_BOX = [-1, -1, -1, -1]


@dataclass(frozen=True, slots=True)
class DrawnSummary:
    """What a drawn data set holds; `samples`: split -> pictures."""

    version: int
    images: int
    seed: int
    verbs: int
    rare: int
    unseen: int
    nouns: int
    samples: Mapping[str, int]


def draw_data_set(
    folder: Path, images: int, seed: int, on_picture: Callable[[], None] = lambda: None
) -> DrawnSummary:
    """Draws a data set of `images` pictures into `folder`; equal arguments give equal bytes.

    The folder appears all at once: it is drawn beside and renamed, so an interrupted call leaves what was
    there before and can be repeated. `on_picture` is called after each picture. Raises UserError where
    `images` is too few or `folder` holds something else than a drawn data set.
    """
    if images < FEWEST_IMAGES:
        raise UserError(
            f"{images} pictures are too few: {FEWEST_IMAGES} is the least that shows every kind of verb "
            f"in train, dev and test; ask for --images {FEWEST_IMAGES} or more"
        )
    folder = folder.resolve()
    _refuse_foreign(folder)
    beside, old = (folder.with_name(f".{folder.name}{TEMPORARY}{what}") for what in ("drawing", "old"))
    try:
        _remove(beside, old)  # left by a killed call
        summary = _draw_into(beside, images, seed, on_picture)
        _swap(beside, folder, old)
    except OSError as reason:
        raise disk_fault(reason, folder) from reason
    finally:
        _remove(beside, old)
    return summary


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(beside: Path, folder: Path, old: Path) -> None:
    """Puts the finished folder in its place, or back what was there."""
    if folder.exists():
        folder.rename(old)
    try:
        beside.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    sync_folder(folder.parent)


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; name a new or empty folder for the drawn data set")
    found = {entry.name for entry in folder.iterdir()}
    if found and RECORD not in found:
        raise UserError(
            f"{folder} is not empty and not a drawn data set (it has no {RECORD}); nothing in it was "
            "touched: name a new or empty folder"
        )
    if foreign := sorted(found - {RECORD, PICTURES, ANNOTATIONS}):
        raise UserError(
            f"{folder} is a drawn data set with something else in it ({', '.join(foreign[:5])}), which "
            "drawing it again would delete; nothing was touched: move that away or name a new folder"
        )


def _draw_into(folder: Path, images: int, seed: int, on_picture: Callable[[], None]) -> DrawnSummary:
    (folder / PICTURES).mkdir(parents=True)
    (folder / ANNOTATIONS).mkdir()
    annotations: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for planned in planned_scenes(images, seed):
        drawing = draw_scene(planned.scene)
        picture = drawing.picture()
        picture.save(folder / PICTURES / planned.image, quality=JPEG_QUALITY, subsampling=0)
        annotations[planned.split][planned.image] = _annotation(planned, drawing)
        on_picture()
    verbs = verbs_for(images)
    for name, text in _annotation_files(verbs, annotations).items():
        write_bytes(folder / ANNOTATIONS / name, text.encode())
    samples: dict[str, int] = {split: len(annotations[split]) for split in SPLITS}
    summary = DrawnSummary(
        VERSION, images, seed, len(verbs.all), len(verbs.rare), len(verbs.unseen), len(GLOSSES), samples
    )
    write_bytes(folder / RECORD, _json(asdict(summary)).encode())
    return summary


def _annotation(planned: Planned, drawing: Drawing) -> dict[str, Any]:
    """One picture's entry in SWiG's annotation files."""
    width, height = planned.scene.size
    boxes = {role: [int(v) for v in drawing.boxes[role]] if role in drawing.boxes else NO_BOX
             for role in planned.names}  # fmt: skip
    frames = [{role: said[i] for role, said in planned.names.items()} for i in range(ANNOTATORS)]
    return {"verb": planned.scene.verb, "height": height, "width": width, "bb": boxes, "frames": frames}


def _annotation_files(verbs: ChosenVerbs, annotations: Mapping[str, Any]) -> dict[str, str]:
    """File name -> text of everything in the annotations folder."""
    roles = sorted({role for verb in verbs.all for role in VerbParts.of(verb).roles})
    classes = [BLANK, *GLOSSES, OOV, PAD]
    space = {
        "nouns": {noun: {"def": "", "gloss": [gloss]} for noun, gloss in GLOSSES.items()},
        "verbs": {verb: _space_entry(VerbParts.of(verb)) for verb in verbs.all},
    }
    splits = {"unseen": list(verbs.unseen), "rare": list(verbs.rare)}
    return {
        **{f"{split}.json": _json(annotations[split]) for split in SPLITS},
        "imsitu_space.json": _json(space),
        "splits.json": _json(splits),
        "verb_indices.txt": _lines(verbs.all),
        "role_indices.txt": _lines(roles),
        "train_classes.csv": _lines(f"{name},{number}" for number, name in enumerate(classes)),
    }


def _space_entry(verb: VerbParts) -> dict[str, Any]:
    return {
        "abstract": verb.template,
        "def": verb.definition,
        "framenet": "",
        "order": list(verb.roles),
        "roles": {role: {"def": "", "framenet": ""} for role in verb.roles},
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
