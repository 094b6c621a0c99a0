"""The text side of the student: what verbs, roles and nouns are called, as vectors.

Axes: V verbs, R = 6 roles (padded), N nouns, E width of a label's text, d width of the student.
These are inputs, never parameters: another set of verbs gives other rows, and the same weights serve it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from stages.data.sample import MAX_ROLES


@dataclass(frozen=True, slots=True)
class LabelTexts:
    """Text embeddings as the text encoder gave them.

    verb       [V, E]
    role       [V, R, E] text of each verb's roles, in the verb's order; zero where there is no role
    role_mask  [V, R] bool, the verb has this role
    noun       [N, E] in the order of the noun classes
    verb_bias  [V] added to the verbs' logits (see `stages.student.training.calibration`); None = nothing
    """

    verb: Tensor
    role: Tensor
    role_mask: Tensor
    noun: Tensor
    verb_bias: Tensor | None = None

    def __post_init__(self) -> None:
        verbs, roles, width = self.role.shape
        assert self.verb.shape == (verbs, width), (self.verb.shape, self.role.shape)
        assert self.role_mask.shape == (verbs, roles), (self.role_mask.shape, self.role.shape)
        assert self.noun.ndim == 2, self.noun.shape
        assert self.noun.shape[1] == width, (self.noun.shape, self.role.shape)

    def tensors(self) -> dict[str, Tensor]:
        """What is there, by name, as a file keeps it."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @property
    def width(self) -> int:
        return self.verb.shape[1]

    def to(self, device: torch.device) -> Self:
        return replace(
            self,
            verb=self.verb.to(device),
            role=self.role.to(device),
            role_mask=self.role_mask.to(device),
            noun=self.noun.to(device),
            verb_bias=None if self.verb_bias is None else self.verb_bias.to(device),
        )


class LabelVectors(LabelTexts):
    """The same with E = d and every row of unit length: what `Student.label_vectors` makes of them."""

    __slots__ = ()

    def raised(self, logits: Tensor) -> Tensor:
        """[B, V] -> the same with the verbs' bias added."""
        return logits if self.verb_bias is None else logits + self.verb_bias


def label_centres(texts: LabelTexts, training: Tensor) -> Tensor:
    """[3, E] the mean text of the training verbs, of their roles, and of the nouns.

    training  [V] bool; a held-out verb's text must not move the others

    Texts of one kind share a direction (CLIP's all lie in a narrow cone), which tells no two of them apart.
    """
    roles = texts.role[training][texts.role_mask[training]]
    return torch.stack([texts.verb[training].mean(dim=0), roles.mean(dim=0), texts.noun.mean(dim=0)])


def assemble_labels(
    verb: Tensor, role: Tensor, roles_of: Sequence[Sequence[int]], noun: Tensor
) -> LabelTexts:
    """Lays a list of role texts out per verb.

    verb      [V, E]
    role      [U, E] the distinct role texts
    roles_of  for each verb, the rows of `role` in the verb's order; 1 to 6
    noun      [N, E]
    """
    assert len(roles_of) == len(verb), (len(roles_of), len(verb))
    rows = torch.full((len(roles_of), MAX_ROLES), -1)
    for i, roles in enumerate(roles_of):
        assert 1 <= len(roles) <= MAX_ROLES, f"verb {i} has {len(roles)} roles"
        rows[i, : len(roles)] = torch.tensor(roles)
    mask = rows >= 0
    laid = role[rows.clamp(min=0)] * mask[..., None]
    return LabelTexts(verb=verb, role=laid, role_mask=mask, noun=noun)
