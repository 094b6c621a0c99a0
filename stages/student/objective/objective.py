"""Puts the terms of one batch together.

Gradients never cross: the distillation terms move the student alone (the teacher's side is detached), the
negative and anchor terms move the alignment and its prompts alone.

Why an anchor. The released code leaves the teacher's side of the L1 attached, so the student's own errors
shape the target; detached, only the negative term would reach the alignment, and "unlike the negative"
alone says nothing about which verb a picture shows. The anchor asks the aligned scene vector for its verb and
the aligned instance vectors for their nouns, against the same label texts the student is compared with.
So the target lies where the student's own vector has to go, and says more than the label: which verbs are
near, seen through the rationale. Verbs outside the training set are no candidates here either.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cache.errors import UserError
from stages.student.network.alignment import Aligned, Alignment
from stages.student.network.labels import LabelVectors
from stages.student.network.model import Recognition, Situation, Student
from stages.student.objective import losses
from stages.student.objective.contrast import instance_contrast, pool_rationales, scene_contrast
from stages.student.reading.batch import Batch
from stages.student.settings import LossSettings
from stages.student.term_counts import Masks, annotation_masks, count, teacher_masks

Terms = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Loss:
    """total: the weighted sum, to go backward from; terms: each term before its weight, detached."""

    total: Tensor
    terms: Terms


class Objective(nn.Module):
    """Everything that trains: its parameters are the optimizer's. `alignment` is None to train without it."""

    def __init__(self, student: Student, alignment: nn.Module | None, settings: LossSettings) -> None:
        super().__init__()
        self.student = student
        self.alignment = alignment
        self.settings = settings

    def forward(
        self, batch: Batch, labels: LabelVectors, verb_candidates: Tensor, shares: Tensor | None = None
    ) -> Loss:
        """The loss of a batch, or what a part of one adds to it.

        labels           of all verbs that `batch.verb` counts in
        verb_candidates  [V] bool, the training verbs
        shares           [T] what each of `TERMS` of this part counts in the whole batch's, see `term_counts`

        Raises UserError where a picture's verb is no training verb.
        """
        refuse_held_out(batch, verb_candidates)
        seen = self.student(batch.vision, labels)
        situation = self.student.situate_verbs(seen.memory, labels, batch.verb)
        terms = self._annotation_terms(batch, seen, situation, verb_candidates)
        terms = dict.fromkeys(TEACHER_TERMS, terms["verb"].new_zeros(())) | terms
        if self.alignment is not None:
            assert batch.teacher is not None, "distillation is on, but the batch brings no teacher targets"
            aligned = self.alignment(batch.teacher)
            terms |= self._teacher_terms(aligned, batch, seen, situation, labels, verb_candidates)
        if shares is not None:
            terms = {name: terms[name] * share for name, share in zip(TERMS, shares, strict=True)}
        total = torch.stack([self._weight(name) * term for name, term in terms.items()]).sum()
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def counts(self, batch: Batch) -> Tensor:
        """[T] how much of a batch each of `TERMS` is a mean over; known without computing anything."""
        return count(self._masks(batch), TERMS)

    def _masks(self, batch: Batch) -> Masks:
        masks = annotation_masks(batch)
        if self.alignment is not None and batch.teacher is not None:
            masks |= teacher_masks(self.alignment, batch.teacher, batch.role_mask)
        return masks

    def _weight(self, term: str) -> float:
        weight: float = getattr(self.settings, "anchor" if term.endswith("_anchor") else term)
        return weight

    def _annotation_terms(
        self, batch: Batch, seen: Recognition, situation: Situation, candidates: Tensor
    ) -> Terms:
        smoothing, everywhere = self.settings.noun_smoothing, torch.ones_like(batch.verb, dtype=torch.bool)
        exists = batch.box_exists & batch.role_mask
        return {
            "verb": losses.verb_loss(
                seen.verb_logits, batch.verb, candidates, everywhere, self.settings.verb_smoothing
            ),
            "noun": losses.noun_loss(situation.noun_logits, batch.nouns, batch.role_mask, smoothing),
            "noun_open": losses.noun_loss(situation.open_logits, batch.nouns, batch.role_mask, smoothing),
            "box_l1": losses.box_l1_loss(situation.boxes, batch.boxes, exists),
            "box_giou": losses.box_giou_loss(situation.boxes, batch.boxes, exists),
            "box_exists": losses.box_exists_loss(situation.box_logits, exists, batch.role_mask),
        }

    def _teacher_terms(
        self,
        aligned: Aligned,
        batch: Batch,
        seen: Recognition,
        situation: Situation,
        labels: LabelVectors,
        candidates: Tensor,
    ) -> Terms:
        assert isinstance(self.alignment, Alignment)
        terms = _distillation_terms(aligned, seen, situation, batch.role_mask)
        if self.settings.contrast == "infonce" and self.alignment.negatives:
            terms |= self._contrast_terms(self.alignment, aligned, batch)
        return terms | self._anchor_terms(self.alignment, aligned, batch, labels, candidates)

    def _contrast_terms(self, alignment: Alignment, aligned: Aligned, batch: Batch) -> Terms:
        """The negative terms as InfoNCE, in place of the hinge's."""
        assert batch.teacher is not None
        rationales = pool_rationales(alignment, batch.teacher)
        temperature = self.settings.temperature
        return {
            "verb_negative": scene_contrast(aligned, rationales, batch.verb, temperature),
            "noun_negative": instance_contrast(aligned, rationales, batch.verb, batch.role_mask, temperature),
        }

    def _anchor_terms(
        self,
        alignment: Alignment,
        aligned: Aligned,
        batch: Batch,
        labels: LabelVectors,
        candidates: Tensor,
    ) -> Terms:
        verb_logits = alignment.verb_logits(aligned.scene, labels.verb)
        noun_logits = alignment.noun_logits(aligned.instance, labels.noun)
        instances = aligned.instance_valid & batch.role_mask
        return {
            "verb_anchor": losses.verb_loss(
                verb_logits, batch.verb, candidates, aligned.scene_valid, self.settings.verb_smoothing
            ),
            "noun_anchor": losses.noun_loss(
                noun_logits, batch.nouns, instances, self.settings.noun_smoothing
            ),
        }


TEACHER_TERMS = (
    "verb_distill",
    "verb_negative",
    "role_distill",
    "noun_negative",
    "verb_anchor",
    "noun_anchor",
)
TERMS = (*TEACHER_TERMS, "verb", "noun", "noun_open", "box_l1", "box_giou", "box_exists")


def _distillation_terms(
    aligned: Aligned, seen: Recognition, situation: Situation, role_mask: Tensor
) -> Terms:
    negative = aligned.instance_negative[:, None]
    instances = aligned.instance_valid & role_mask
    return {
        "verb_distill": losses.distillation_loss(seen.verb, aligned.scene, aligned.scene_valid),
        "verb_negative": losses.negative_loss(aligned.scene, aligned.scene_negative, aligned.scene_contrast),
        "role_distill": losses.distillation_loss(situation.roles, aligned.instance, instances),
        "noun_negative": losses.negative_loss(
            aligned.instance, negative, aligned.instance_contrast & role_mask
        ),
    }


def refuse_held_out(batch: Batch, verb_candidates: Tensor) -> None:
    """Raises UserError where a picture's verb is not among the training verbs."""
    allowed = verb_candidates[batch.verb]
    if not bool(allowed.all()):
        first = int((~allowed).nonzero()[0])
        raise UserError(
            f"picture {batch.images[first]!r} has verb number {int(batch.verb[first])}, which is none of the "
            f"{int(verb_candidates.sum())} training verbs; held-out verbs must not enter training, or their "
            "test figures mean nothing; take the picture out of the training split"
        )
