"""What the decoder asks the picture: one query per role of a verb.

Axes: B pictures, V verbs, R roles, U distinct roles, d width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from cache.errors import UserError
from stages.data.sample import MAX_ROLES
from stages.student.network.labels import LabelVectors


class TextQueries(nn.Sequential):
    """From the texts of verb and role, so that any verb with any roles has one."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def of_texts(self, verb_text: Tensor, role_text: Tensor) -> Tensor:
        """[B, d] and [B, R, d] -> [B, R, d]."""
        verb = verb_text[:, None].expand_as(role_text)
        # Coordinates of a unit vector are of size 1 / sqrt(d); linear layers are made for size 1.
        query: Tensor = self(torch.cat([verb, role_text], dim=-1) * math.sqrt(role_text.shape[-1]))
        return query

    def of_verbs(self, labels: LabelVectors, verb: Tensor) -> Tensor:
        """[B] rows of `labels` -> [B, R, d]."""
        return self.of_texts(labels.verb[verb], labels.role[verb])

    def require_text(self, wish: str) -> None:
        """Nothing: these are asked by text."""


class LearnedQueries(nn.Module):
    """A learned vector of the verb plus a learned vector of the role, as in the released code.

    The query of a verb without training pictures stays half of what it was at the start: only roles learn.

    roles  [V, R] number of each role of each verb, -1 where the verb has none (see `role_numbers`)
    """

    def __init__(self, dim: int, roles: Tensor) -> None:
        super().__init__()
        self.verb = nn.Embedding(len(roles), dim)
        self.role = nn.Embedding(int(roles.max()) + 1, dim)
        self.register_buffer("roles", roles, persistent=False)
        self.roles: Tensor

    def of_texts(self, verb_text: Tensor, role_text: Tensor) -> Tensor:
        """Raises UserError: a learned query has no text."""
        return self.require_text("be asked about verbs and roles given by text")

    def require_text(self, wish: str) -> NoReturn:
        """Raises UserError: without texts it cannot do as wished."""
        raise UserError(
            f"this student knows its {len(self.roles)} verbs by learned numbers, so it cannot {wish}; train "
            "one with student.text_queries true and student.as_released false"
        )

    def of_verbs(self, labels: LabelVectors, verb: Tensor) -> Tensor:
        """[B] numbers of verbs -> [B, R, d]; raises UserError where `labels` are of another vocabulary."""
        known = self.roles >= 0
        if labels.role_mask.shape != known.shape or not torch.equal(labels.role_mask, known):
            self.of_texts(labels.verb, labels.role)
        query: Tensor = self.verb(verb)[:, None] + self.role(self.roles[verb].clamp(min=0))
        return query


def role_numbers(roles_of: Sequence[Sequence[str]]) -> Tensor:
    """The roles of each verb -> [V, R] a number per distinct role, in order of name; -1 where none."""
    names = sorted({role for roles in roles_of for role in roles})
    number = {name: i for i, name in enumerate(names)}
    rows = [[number[role] for role in roles] + [-1] * (MAX_ROLES - len(roles)) for roles in roles_of]
    return torch.tensor(rows)
