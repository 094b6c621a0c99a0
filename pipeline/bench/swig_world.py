"""A made-up data set of SWiG's real shapes with its store: what `bench student` trains on.

Labels, annotations and tokens are drawn; their number, width and type are those of SWiG under BLIP-2's and
CLIP's encoders, and so is what a step costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from cache.bank_header import RATIONALE_TEXT, STUDENT_VISION, TEACHER_VISION, BankHeader, write_header
from cache.bank_writer import ShardWriter
from cache.manifest import add_parts, editing, put_in_force
from cache.paths import StorePaths
from pipeline.bench.layouts import SHAPES, Tokens
from stages.data.geometry import Geometry
from stages.data.sample import MAX_ROLES, Box, Sample, Split
from stages.data.vocabulary import BLANK, OOV, PAD, VerbFrame, Vocabulary
from stages.student.network.labels import LabelTexts, assemble_labels
from stages.student.reading.dataset import StoreDataset
from stages.student.settings import StudentSettings
from stages.student.training_data import TrainingData

_SIDE = 500.0  # pixels of a picture
_BOXED = 0.75  # share of the roles that have a box


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a step's cost hangs on. Defaults: SWiG's labels, CLIP's label texts, `student` as by default.

    pictures    in the store, all of them training pictures; a multiple of `batch`
    batch       pictures of a step
    candidates  verbs of the step that is compared with one of `verbs`
    """

    pictures: int = 128
    batch: int = 32
    verbs: int = 504
    candidates: int = 10_000
    roles: int = 190
    nouns: int = 9_929
    label_width: int = 768
    student_grid: int = 24
    student_width: int = SHAPES[STUDENT_VISION][1]
    teacher_grid: int = 16
    teacher_width: int = SHAPES[TEACHER_VISION][1]
    words: int = SHAPES[RATIONALE_TEXT][1]
    text_width: int = SHAPES[RATIONALE_TEXT][2]
    student: StudentSettings = field(default_factory=StudentSettings)

    def headers(self) -> list[BankHeader]:
        """Of the three banks, in bf16."""
        seen, known = _geometry(336, self.student_grid), _geometry(224, self.teacher_grid)
        return [
            _header(STUDENT_VISION, (seen.tokens, self.student_width), seen),
            _header(TEACHER_VISION, (known.tokens, self.teacher_width), known),
            _header(RATIONALE_TEXT, (4, self.words, self.text_width), None),
        ]


def _geometry(size: int, grid: int) -> Geometry:
    return Geometry(size=size, mode="stretch", rows=grid, cols=grid, class_tokens=1)


def _header(bank: str, shape: tuple[int, ...], geometry: Geometry | None) -> BankHeader:
    frame = geometry.to_json() if geometry else None
    return BankHeader(bank, "bf16", shape, geometry is None, frame, {"encoder": "bench"})


def write_store(paths: StorePaths, sizes: Sizes) -> None:
    """The banks of all pictures. Every rationale is there and as long as the text encoder takes."""
    tokens = Tokens({header.name: header.shape for header in sizes.headers()})
    with editing(paths) as cell:
        cell[0] = replace(cell[0], data_fingerprint="bench")
    for header in sizes.headers():
        write_header(paths, header)
        put_in_force(paths, header.name, header.fingerprint)
        lengths = np.full(header.shape[0], header.shape[1]) if header.masked else None
        with ShardWriter.open(paths, header, sizes.pictures, {"command": "bench student"}) as shard:
            for picture in range(sizes.pictures):
                shard.add(_image(picture), f"{picture:032x}", tokens.of(header.name, picture), lengths)
        add_parts(paths, shard.parts())


def training_data(paths: StorePaths, sizes: Sizes, dev: int = 0) -> TrainingData:
    """The data set over the store `write_store` made; its first `dev` pictures are the dev set too."""
    vocabulary = make_vocabulary(sizes)
    samples = make_samples(vocabulary, sizes, "train")
    return TrainingData(
        train=StoreDataset(paths, samples, vocabulary, teacher=True),
        select=StoreDataset(paths, make_samples(vocabulary, sizes, "dev")[:dev], vocabulary, teacher=False),
        labels=make_labels(sizes, sizes.verbs),
        vocabulary=vocabulary,
        subset_of=dict.fromkeys(vocabulary.verbs, "seen"),
        fingerprint={"data": "bench"},
        proof={},
    )


def make_vocabulary(sizes: Sizes) -> Vocabulary:
    verbs = tuple(f"verb{number:04d}" for number in range(sizes.verbs))
    roles = tuple(f"role{number:03d}" for number in range(sizes.roles))
    frames = {
        verb: VerbFrame(tuple(roles[role] for role in _roles_of(number, sizes.roles)), verb)
        for number, verb in enumerate(verbs)
    }
    nouns = (BLANK, *(f"n{number:08d}" for number in range(sizes.nouns - 3)), OOV, PAD)
    return Vocabulary(verbs, roles, nouns, frames, {})


def _roles_of(verb: int, roles: int) -> list[int]:
    """1 to 6 roles, 3.5 in the mean; SWiG has 3.55."""
    return [(verb + role) % roles for role in range(1 + verb % min(MAX_ROLES, roles))]


def make_labels(sizes: Sizes, verbs: int) -> LabelTexts:
    """Label texts of so many verbs."""
    drawn = torch.Generator().manual_seed(0)

    def texts(count: int) -> torch.Tensor:
        return torch.randn(count, sizes.label_width, generator=drawn)

    roles_of = [_roles_of(verb, sizes.roles) for verb in range(verbs)]
    return assemble_labels(texts(verbs), texts(sizes.roles), roles_of, texts(sizes.nouns))


def make_samples(vocabulary: Vocabulary, sizes: Sizes, split: Split) -> list[Sample]:
    random = np.random.default_rng(0)
    return [
        _sample(vocabulary, vocabulary.verbs[int(verb)], _image(picture), split, random)
        for picture, verb in enumerate(random.integers(sizes.verbs, size=sizes.pictures))
    ]


def _sample(
    vocabulary: Vocabulary, verb: str, image: str, split: Split, random: np.random.Generator
) -> Sample:
    roles = vocabulary.frames[verb].roles
    nouns = []
    for _ in roles:
        one, two, three = (
            vocabulary.nouns[int(noun)] for noun in random.integers(1, len(vocabulary.nouns) - 2, 3)
        )
        nouns.append((one, two, three))
    boxes = [_box(random.random(4).tolist()) if random.random() < _BOXED else None for _ in roles]
    side = int(_SIDE)
    return Sample(image, split, verb, side, side, roles, tuple(nouns), tuple(boxes))


def _box(numbers: Sequence[float]) -> Box:
    """Of four numbers in 0..1, with sides from a tenth to a half of the picture's."""
    x, y, width, height = numbers
    left, top = x * 0.5 * _SIDE, y * 0.5 * _SIDE
    return left, top, left + (0.1 + 0.4 * width) * _SIDE, top + (0.1 + 0.4 * height) * _SIDE


def _image(picture: int) -> str:
    return f"picture_{picture:06d}.jpg"
