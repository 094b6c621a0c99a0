"""Samples with their banks as tensors: what training and evaluation read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cache.bank_header import RATIONALE_TEXT, STUDENT_VISION, TEACHER_VISION, mirrored, picture_key
from cache.bank_reader import BankReader
from cache.errors import UserError
from cache.kinds import KINDS
from cache.paths import StorePaths
from cache.rationales import texts_key
from cache.stored_rows import StoredRows
from stages.data.geometry import Geometry
from stages.data.sample import MAX_ROLES, Sample
from stages.data.vocabulary import Vocabulary
from stages.student.network.boxes import to_centres
from stages.student.network.tokens import to_tensor
from stages.student.reading.batch import Batch, TeacherTargets


class StoreDataset(Dataset[Batch]):
    """One item per sample, in the order given; see `Batch` for the meaning and shape of each field.

    paths     of the store
    teacher   read the teacher's banks too; evaluation does without them
    mirror    the banks with the mirrored view are read too: item ``len(dataset) + i`` is sample i mirrored
    mined     for each picture, the pictures whose positive rationales are read with it (see `cache.mining`)
    missing   pictures left out because a vision bank lacks them (their picture could not be read)

    Raises UserError where that leaves nothing, or a mirrored bank is missing or of another encoder. A picture
    without any usable rationale stays: its text mask is all False.
    """

    def __init__(
        self,
        paths: StorePaths,
        samples: Sequence[Sample],
        vocabulary: Vocabulary,
        teacher: bool,
        mirror: bool = False,
        mined: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._mined = mined or {}
        self._mined_count = max(map(len, self._mined.values()), default=0)
        self.vision = BankReader(paths, STUDENT_VISION)
        self.geometry = bank_geometry(self.vision)
        self.mirrored = open_mirrored(paths, self.vision) if mirror else None
        self.teacher = TeacherBanks.open(paths, mirror) if teacher else None
        banks = [self.vision, *([self.teacher.vision] if self.teacher else [])]
        views = [self.mirrored, self.teacher and self.teacher.mirrored]
        banks += [view for view in views if view]
        self.samples = [sample for sample in samples if all(sample.image in bank for bank in banks)]
        self.missing = [sample.image for sample in samples if any(sample.image not in b for b in banks)]
        if samples and not self.samples:
            raise UserError(
                f"the banks at {paths.root} hold none of the {len(samples)} pictures of this data set, e.g. "
                f"{samples[0].image!r}; make them with `mipd-pipe embed-teacher`"
            )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        """A batch of one picture; several come by `read`."""
        return self.read([index])

    def read(self, rows: Sequence[int]) -> Batch:
        """Several pictures as one batch, each bank read straight into its tensor.

        Tokens come in their bank's own number format, see `tokens`. May be called in several
        threads.
        """
        samples = [self.samples[row % len(self)] for row in rows]
        flipped = [row >= len(self) for row in rows]
        images = tuple(sample.image for sample in samples)
        return Batch(
            images=images,
            vision=to_tensor(read_views(self.vision, self.mirrored, images, flipped)),
            **self._annotations(samples, flipped),
            teacher=self._teacher_targets(samples, flipped),
        )

    def _teacher_targets(self, samples: Sequence[Sample], flipped: Sequence[bool]) -> TeacherTargets | None:
        if self.teacher is None:
            return None
        targets = self.teacher.read(samples, flipped)
        if not self._mined_count:
            return targets
        images = [self._mined.get(sample.image, ()) for sample in samples]
        mined, mask = self.teacher.read_mined(images, self._mined_count)
        return replace(targets, mined=mined, mined_mask=mask)

    def require_current(self, digests: Mapping[str, str]) -> None:
        """Raises UserError where vision rows were made of other bytes than these (image -> digest)."""
        banks = [self.vision, *([self.teacher.vision] if self.teacher else [])]
        for bank in banks:
            mark, keys = bank.header.fingerprint, bank.row_keys
            stale = [
                sample.image
                for sample in self.samples
                if (digest := digests.get(sample.image)) and keys[sample.image] != picture_key(mark, digest)
            ]
            if stale:
                raise UserError(
                    f"{len(stale)} of {len(self.samples)} pictures, e.g. {stale[0]!r}, are not the ones that "
                    f"bank {bank.header.name} was made of: their files changed since. Bring the store up to "
                    "date with `mipd-pipe generate-rationales` and `mipd-pipe embed-teacher`, which redo "
                    "only what changed, or put the earlier pictures back"
                )

    def _annotations(self, samples: Sequence[Sample], flipped: Sequence[bool]) -> dict[str, Tensor]:
        """Roles beyond the verb's are `Pad` with no box."""
        vocabulary = self._vocabulary
        padding = [[vocabulary.noun_index["Pad"]] * 3] * MAX_ROLES
        nouns = [
            [*([vocabulary.noun_class(noun) for noun in three] for three in sample.nouns), *padding][
                :MAX_ROLES
            ]
            for sample in samples
        ]
        corners, exists = frame_boxes(samples, self.geometry, flipped)
        roles = torch.tensor([len(sample.roles) for sample in samples])
        return {
            "verb": torch.tensor([vocabulary.verb_index[sample.verb] for sample in samples]),
            "role_mask": torch.arange(MAX_ROLES) < roles[:, None],
            "nouns": torch.tensor(nouns),
            "boxes": to_centres(corners),
            "box_exists": exists,
        }


@dataclass(frozen=True, slots=True)
class TeacherBanks:
    """The banks only training reads; `mirrored` holds the second view of `vision`, where it is wanted."""

    vision: BankReader
    text: BankReader
    geometry: Geometry
    mirrored: BankReader | None = None

    @staticmethod
    def open(paths: StorePaths, mirror: bool = False) -> TeacherBanks:
        vision, text = (BankReader(paths, name) for name in (TEACHER_VISION, RATIONALE_TEXT))
        view = open_mirrored(paths, vision) if mirror else None
        return TeacherBanks(vision, text, bank_geometry(vision), view)

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

    def read(self, samples: Sequence[Sample], flipped: Sequence[bool]) -> TeacherTargets:
        """Lengths are 0 where no rationale of a picture was accepted; `flipped` pictures come mirrored."""
        images = [sample.image for sample in samples]
        vision = to_tensor(read_views(self.vision, self.mirrored, images, flipped))
        text = self.text.read_batch([image if image in self.text else None for image in images])
        assert text.lengths is not None
        lengths = torch.from_numpy(text.lengths)
        corners, valid = frame_boxes(samples, self.geometry, flipped)
        return TeacherTargets(
            vision=vision,
            role_boxes=corners,
            role_box_valid=valid,
            text=to_tensor(text),
            text_mask=torch.arange(self.text.header.shape[1]) < lengths[..., None],
        )

    def read_mined(self, images: Sequence[Sequence[str]], count: int) -> tuple[Tensor, Tensor]:
        """[B, M, 2, L, Dx] positive glimpse and gaze of M = `count` images a row, and their mask."""
        padded = [[*row, *[None] * (count - len(row))] for row in images]
        flat = [image if image in self.text else None for row in padded for image in row]
        text = self.text.read_batch(flat)
        assert text.lengths is not None
        positives = [i for i, kind in enumerate(KINDS) if kind.polarity == "positive"]
        lengths, tokens = torch.from_numpy(text.lengths)[:, positives], to_tensor(text)[:, positives]
        mask = torch.arange(self.text.header.shape[1]) < lengths[..., None]
        shape = len(images), count
        return tokens.reshape(*shape, *tokens.shape[1:]), mask.reshape(*shape, *mask.shape[1:])


def bank_geometry(bank: BankReader) -> Geometry:
    if bank.header.geometry is None:
        raise UserError(
            f"bank {bank.header.name!r} records no geometry, so no box can be placed in it; "
            "rebuild it with `mipd-pipe embed-teacher`"
        )
    return Geometry.from_json(bank.header.geometry)


def open_mirrored(paths: StorePaths, plain: BankReader) -> BankReader:
    """The second view of a vision bank. Raises UserError where it is missing, or not of the same encoder."""
    header = plain.header
    advice = "make it with `mipd-pipe embed-teacher --set embed.mirrored=true`, or set train.mirror to false"
    try:
        bank = BankReader(paths, mirrored(header.name))
    except UserError as reason:
        raise UserError(f"train.mirror needs bank {mirrored(header.name)!r} ({reason}); {advice}") from None
    flipped = mirrored_geometry(bank_geometry(plain)).to_json()
    if bank.header != replace(header, name=mirrored(header.name), geometry=flipped):
        raise UserError(
            f"bank {bank.header.name!r} was made by another encoder, or in another form, than "
            f"{header.name!r}, whose pictures it should show mirrored; {advice}"
        )
    return bank


def mirrored_geometry(geometry: Geometry) -> Geometry:
    return replace(geometry, flip=not geometry.flip)


def read_views(
    plain: BankReader, mirrored: BankReader | None, images: Sequence[str], flipped: Sequence[bool]
) -> StoredRows:
    """Rows in the order of `images`, the flipped ones from the mirrored bank."""
    if mirrored is None or not any(flipped):
        assert not any(flipped), "no bank with mirrored pictures was opened"
        return plain.read_batch(images)
    rows = plain.room(len(images))
    for bank, view in ((plain, False), (mirrored, True)):
        places = [place for place, is_flipped in enumerate(flipped) if is_flipped == view]
        bank.read_batch([images[place] for place in places], rows, places)
    return rows


def frame_boxes(
    samples: Sequence[Sample], geometry: Geometry, flipped: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """[B, R, 4] x1 y1 x2 y2 in 0..1 of a frame, and [B, R] bool where the frame shows a box at all."""
    views = (geometry, mirrored_geometry(geometry))
    framed = [
        [box and views[view].box_to_frame(box, sample.width, sample.height) for box in sample.boxes]
        + [None] * (MAX_ROLES - len(sample.boxes))
        for sample, view in zip(samples, flipped, strict=True)
    ]
    corners = torch.tensor([[box or (0.0, 0.0, 0.0, 0.0) for box in boxes] for boxes in framed])
    return corners, torch.tensor([[bool(box) for box in boxes] for boxes in framed])
