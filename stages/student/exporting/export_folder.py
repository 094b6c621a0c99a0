"""The folder of an exported student: which files it has, and that they are those which were exported.

    export.json            facts: of the checkpoint, of every file here, and what was measured
    README.md              the model card, for people
    labels.safetensors     text embeddings of the trained verbs, their roles and the nouns, and their centres;
                           verb_bias [V], to be added to verb_logits, where the student is calibrated
    labels.onnx            text [N, E], less the centre of its kind -> vector [N, d] in the student's width
    recognise.onnx         vision [B, Q, Ds], verbs [V, d] -> memory, verb, verb_logits
    situate.onnx           memory, verb [B, d], roles [B, R, d], role_mask [B, R], nouns [N, d]
                           -> role_vectors, noun_logits, open_logits, boxes, box_logits
    vision.onnx            frames [B, S, S, 3] uint8 -> tokens [B, Q, Ds]; only with `--with-vision`

Labels are inputs, so that any verbs with any roles can be asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cache.errors import UserError
from cache.keys import digest_file
from stages.student.network.labels import LabelTexts
from stages.student.training.tensor_file import load_tensors, save_tensors

FORMAT = 2
FACTS, CARD, LABELS = "export.json", "README.md", "labels.safetensors"
LABEL_GRAPH, RECOGNISE, SITUATE, VISION = "labels.onnx", "recognise.onnx", "situate.onnx", "vision.onnx"
_CENTRES = "centres"
_AGAIN = "export the student again with `mipd-pipe export-student`"


@dataclass(frozen=True, slots=True)
class Export:
    """An opened export; `facts` is the whole of export.json, `texts` the labels of the training."""

    folder: Path
    facts: dict[str, Any]
    texts: LabelTexts

    @property
    def checkpoint_facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.facts["checkpoint"]
        return facts

    @property
    def has_vision(self) -> bool:
        return VISION in self.facts["files"]


def open_export(folder: Path) -> Export:
    """Raises UserError where the folder is no export, of another version, or a file of it is not whole."""
    facts = _read_facts(folder)
    for name, digest in facts["files"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"the export {folder} lacks {name}; copy the whole folder, or {_AGAIN}")
        if digest_file(path) != digest:
            raise UserError(f"{path} is not the file that was exported: damaged or changed; {_AGAIN}")
    tensors, _ = load_tensors(folder / LABELS)
    del tensors[_CENTRES]
    return Export(folder, facts, LabelTexts(**tensors))


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    if not path.is_file():
        raise UserError(
            f"{folder} is a folder without {FACTS}, so it is no exported student; give a checkpoint's file, "
            f"or {_AGAIN}"
        )
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        version = facts["format"]
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise UserError(f"{path} cannot be read ({reason}); {_AGAIN}") from None
    if version != FORMAT:
        raise UserError(
            f"{folder} has export format {version!r}; this version reads format {FORMAT}: use the version of "
            f"mipd-pipe that wrote it, or {_AGAIN}"
        )
    return facts


def save_labels(folder: Path, texts: LabelTexts, centres: Tensor) -> None:
    """centres  [3, E] as `Student.label_centres`"""
    save_tensors(folder / LABELS, {**texts.tensors(), _CENTRES: centres}, {})


def load_centres(folder: Path) -> Tensor:
    """[3, E] what the texts of verbs, roles and nouns are measured from."""
    return load_tensors(folder / LABELS)[0][_CENTRES]


def save_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Seals the folder: all that lies in it, but the card, is listed with its digest."""
    names = sorted(path.name for path in folder.iterdir() if path.name not in (FACTS, CARD))
    files = {name: digest_file(folder / name) for name in names}
    document = json.dumps({"format": FORMAT, **facts, "files": files}, indent=1, ensure_ascii=False)
    (folder / FACTS).write_text(document + "\n", encoding="utf-8")
