"""Samples with their banks as tensors: what training and evaluation read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from cache.banks import RATIONALE_TEXT, STUDENT_VISION, TEACHER_VISION, BankReader
from cache.errors import UserError
from cache.kinds import KINDS
from cache.paths import StorePaths
from cache.rationales import texts_key
from stages.data.geometry import Geometry
from stages.data.sample import MAX_ROLES, Sample
from stages.data.vocabulary import Vocabulary
from stages.student.batch import Batch, TeacherTargets
from stages.student.boxes import to_centres

Item = dict[str, Tensor | str]


class StoreDataset(Dataset[Item]):
    """One item per sample, in the order given; see `Batch` for the meaning and shape of each field.

    paths     of the store
    teacher   read the teacher's banks too; evaluation does without them
    missing   pictures left out because a vision bank lacks them (their picture could not be read)

    Raises UserError where that leaves nothing. A picture without any usable rationale stays: its text mask
    is all False.
    """

    def __init__(
        self, paths: StorePaths, samples: Sequence[Sample], vocabulary: Vocabulary, teacher: bool
    ) -> None:
        self._vocabulary = vocabulary
        self.vision = BankReader(paths, STUDENT_VISION)
        self.geometry = bank_geometry(self.vision)
        self.teacher = TeacherBanks.open(paths) if teacher else None
        banks = [self.vision, *([self.teacher.vision] if self.teacher else [])]
        self.samples = [sample for sample in samples if all(sample.image in bank for bank in banks)]
        self.missing = [sample.image for sample in samples if any(sample.image not in b for b in banks)]
        if samples and not self.samples:
            raise UserError(
                f"the banks at {paths.root} hold none of the {len(samples)} pictures of this data set, e.g. "
                f"{samples[0].image!r}; make them with `mipd-pipe embed-teacher`"
            )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        item: Item = {
            "image": sample.image,
            "vision": torch.from_numpy(self.vision.read(sample.image).tokens),
        }
        item |= self._annotation(sample)
        if self.teacher:
            item |= self.teacher.read(sample)
        return item

    def _annotation(self, sample: Sample) -> Item:
        """Roles beyond the verb's are `Pad` with no box."""
        vocabulary = self._vocabulary
        nouns = torch.full((MAX_ROLES, 3), vocabulary.noun_index["Pad"])
        for role, three in enumerate(sample.nouns):
            nouns[role] = torch.tensor([vocabulary.noun_class(noun) for noun in three])
        corners, exists = frame_boxes(sample, self.geometry)
        return {
            "verb": torch.tensor(vocabulary.verb_index[sample.verb]),
            "role_mask": torch.arange(MAX_ROLES) < len(sample.roles),
            "nouns": nouns,
            "boxes": to_centres(corners),
            "box_exists": exists,
        }


@dataclass(frozen=True, slots=True)
class TeacherBanks:
    """The two banks only training reads."""

    vision: BankReader
    text: BankReader
    geometry: Geometry

    @staticmethod
    def open(paths: StorePaths) -> TeacherBanks:
        vision, text = (BankReader(paths, name) for name in (TEACHER_VISION, RATIONALE_TEXT))
        return TeacherBanks(vision, text, bank_geometry(vision))

    def require_current(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Raises UserError where the bank was made of other texts than these (see `usable_texts`)."""
        bank = self.text
        stale = [
            image
            for image, four in texts.items()
            if bank.row_keys.get(image) != texts_key(bank.header.fingerprint, four)
        ]
        if stale:
            raise UserError(
                f"the rationales of {len(stale)} training pictures, e.g. {stale[0]!r}, are not the ones bank "
                f"{bank.header.name!r} was made of; bring it up to date with `mipd-pipe embed-teacher`"
            )

    def read(self, sample: Sample) -> Item:
        tokens, lengths = self._text(sample.image)
        limit = tokens.shape[1]
        corners, valid = frame_boxes(sample, self.geometry)
        return {
            "teacher_vision": torch.from_numpy(self.vision.read(sample.image).tokens),
            "role_boxes": corners,
            "role_box_valid": valid,
            "text": torch.from_numpy(tokens),
            "text_mask": torch.from_numpy(np.arange(limit)[None] < lengths[:, None]),
        }

    def _text(self, image: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Tokens [K, L, Dx] and lengths [K]; lengths 0 where no rationale of the picture was accepted."""
        if image not in self.text:
            shape = self.text.header.shape
            return np.zeros(shape, np.float32), np.zeros(shape[0], np.int32)
        row = self.text.read(image)
        assert row.lengths is not None
        return row.tokens, row.lengths


def bank_geometry(bank: BankReader) -> Geometry:
    if bank.header.geometry is None:
        raise UserError(
            f"bank {bank.header.name!r} records no geometry, so no box can be placed in it; "
            "rebuild it with `mipd-pipe embed-teacher`"
        )
    return Geometry.from_json(bank.header.geometry)


def frame_boxes(sample: Sample, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """[R, 4] x1 y1 x2 y2 in 0..1 of a frame, and [R] bool where the frame shows a box at all."""
    corners, shown = torch.zeros(MAX_ROLES, 4), torch.zeros(MAX_ROLES, dtype=torch.bool)
    for role, box in enumerate(sample.boxes):
        framed = box and geometry.box_to_frame(box, sample.width, sample.height)
        if framed:
            corners[role], shown[role] = torch.tensor(framed), True
    return corners, shown


def collate(items: Sequence[Item]) -> Batch:
    """Stacks items into a Batch."""
    fields = default_collate([{k: v for k, v in item.items() if k != "image"} for item in items])
    teacher = None
    if "teacher_vision" in fields:
        teacher = TeacherTargets(
            vision=fields.pop("teacher_vision"),
            **{name: fields.pop(name) for name in ("role_boxes", "role_box_valid", "text", "text_mask")},
        )
        assert teacher.text.shape[1] == len(KINDS)
    return Batch(images=tuple(str(item["image"]) for item in items), **fields, teacher=teacher)
