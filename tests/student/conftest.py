"""A world small enough to compute in milliseconds, in which pictures and rationales really tell the verb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from stages.data.geometry import Geometry
from stages.student.network.alignment import Alignment
from stages.student.network.labels import LabelTexts, LabelVectors, assemble_labels
from stages.student.network.model import Student
from stages.student.network.queries import role_numbers
from stages.student.network.released import ReleasedAlignment, ReleasedObjective
from stages.student.objective.objective import Objective
from stages.student.reading.batch import Batch, TeacherTargets
from stages.student.settings import LossSettings, StudentSettings

torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other

VERBS, ROLES, NOUNS, KINDS = 6, 6, 7, 4
VISION, TEACHER, TEXT = 12, 10, 14  # widths Ds, Dt, Dx
ROLES_OF = [[0], [0, 1], [0, 1, 2], [1, 3], [0, 4], [0, 1, 2, 3, 4, 0]]


@dataclass(frozen=True)
class World:
    settings: StudentSettings
    geometry: Geometry
    texts: LabelTexts
    student: Student
    alignment: Alignment | ReleasedAlignment
    labels: LabelVectors
    candidates: torch.Tensor

    def objective(self, losses: LossSettings | None = None, distill: bool = True) -> Objective:
        kind = ReleasedObjective if self.settings.as_released else Objective
        return kind(self.student, self.alignment if distill else None, losses or LossSettings())

    def batch(self, pictures: int, seed: int = 0) -> Batch:
        return make_batch(self, pictures, torch.Generator().manual_seed(seed))


@pytest.fixture
def make_world() -> Callable[..., World]:
    return build_world


@pytest.fixture
def world() -> World:
    return build_world()


def build_world(label_dim: int = 16, class_tokens: int = 1, seed: int = 0, **settings: object) -> World:
    """Verbs 0 to 4 are training verbs; verb 5 is held out."""
    torch.manual_seed(seed)
    small = {"dim": 16, "heads": 2, "alignment_heads": 2, "feed_forward": 32, "head_hidden": 32}
    options = StudentSettings.model_validate({**small, **settings})
    geometry = Geometry(size=32, mode="stretch", rows=4, cols=4, class_tokens=class_tokens)
    texts = assemble_labels(
        verb=torch.randn(VERBS, label_dim),
        role=torch.randn(5, label_dim),
        roles_of=ROLES_OF,
        noun=torch.randn(NOUNS, label_dim),
    )
    roles = role_numbers([[str(role) for role in roles] for roles in ROLES_OF])
    student = Student(options, geometry, VISION, label_dim, NOUNS, roles)
    kind = ReleasedAlignment if options.as_released else Alignment
    alignment = kind(options, geometry, TEACHER, TEXT)
    candidates = torch.tensor([True] * 5 + [False])
    return World(options, geometry, texts, student, alignment, student.label_vectors(texts), candidates)


def make_batch(world: World, pictures: int, random: torch.Generator) -> Batch:
    """Every picture's tokens carry its verb and nouns; every box and every rationale is there."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    tokens = world.geometry.tokens
    verb = torch.randint(0, 5, (pictures,), generator=random)
    mask = world.texts.role_mask[verb]
    nouns = torch.randint(0, NOUNS, (pictures, ROLES, 1), generator=random).expand(-1, -1, 3).contiguous()
    low = torch.rand(pictures, ROLES, 2, generator=random) * 0.5
    side = 0.2 + torch.rand(pictures, ROLES, 2, generator=random) * 0.3
    signs = torch.Generator().manual_seed(1)
    of_verb = {width: torch.randn(VERBS, width, generator=signs) for width in (VISION, TEACHER, TEXT)}
    text = of_verb[TEXT][verb][:, None, None] + 0.1 * normal(pictures, KINDS, 3, TEXT)
    text[:, 1::2] *= -1  # the negatives say the opposite
    teacher = TeacherTargets(
        vision=of_verb[TEACHER][verb][:, None] + 0.5 * normal(pictures, tokens, TEACHER),
        role_boxes=torch.cat([low, low + side], dim=-1),
        role_box_valid=mask.clone(),
        text=text,
        text_mask=torch.ones(pictures, KINDS, 3, dtype=torch.bool),
    )
    return Batch(
        images=tuple(f"{i}.jpg" for i in range(pictures)),
        vision=of_verb[VISION][verb][:, None] + 0.1 * normal(pictures, tokens, VISION),
        verb=verb,
        role_mask=mask,
        nouns=nouns,
        boxes=torch.cat([low + side / 2, side], dim=-1),
        box_exists=mask.clone(),
        teacher=teacher,
    )
