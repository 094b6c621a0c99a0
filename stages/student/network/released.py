"""What the authors' released code computes, for comparison (`student.as_released`).

Axes: B pictures, P teacher tokens, L text tokens, K kinds of rationale, d width.

The alignment's only query is the teacher's class token. What a query of cross-attention gets does not depend
on the other queries, so neither the patches nor the prompts added to them reach any loss: they are left out
here, which changes no number. Where the bank has no class token the mean of the patches asks in its place.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stages.data.geometry import Geometry
from stages.student.network.alignment import (
    NEGATIVE_GAZE,
    NEGATIVE_GLIMPSE,
    POSITIVE_GAZE,
    POSITIVE_GLIMPSE,
    Aligned,
)
from stages.student.network.labels import LabelVectors
from stages.student.network.masks import never_empty
from stages.student.network.model import Recognition, Situation
from stages.student.network.token_input import TokenInput
from stages.student.objective import losses, released_losses
from stages.student.objective.objective import Objective, Terms
from stages.student.reading.batch import Batch, TeacherTargets
from stages.student.settings import StudentSettings
from stages.student.term_counts import Masks, annotation_masks, released_masks


class ReleasedAlignment(nn.Module):
    """Scene and gaze through one single-head attention; sizes as in `Alignment`."""

    def __init__(self, settings: StudentSettings, geometry: Geometry, vision_dim: int, text_dim: int) -> None:
        super().__init__()
        d = settings.dim
        self.geometry = geometry
        self.scene, self.gaze = settings.scene_distill, settings.gaze_distill
        self.negatives = settings.negatives
        self.vision = TokenInput(vision_dim, d)
        self.text = TokenInput(text_dim, d)
        self.attention = nn.MultiheadAttention(d, num_heads=1, batch_first=True)

    def forward(self, teacher: TeacherTargets) -> Aligned:
        """`instance` is one vector per picture, in the place of the first role; it is nobody's target."""
        query = self.vision(self._whole(teacher.vision))
        text = self.text(teacher.text)  # [B, K, L, d]
        told = teacher.text_mask.any(dim=-1)
        negative = F.normalize(text.float().mean(dim=-2), dim=-1)  # of all L tokens, padding too
        contrast = told[:, [NEGATIVE_GLIMPSE, NEGATIVE_GAZE]] & self.negatives
        scene_valid = told[:, POSITIVE_GLIMPSE] & self.scene
        gaze_valid = told[:, POSITIVE_GAZE] & self.gaze
        return Aligned(
            scene=self._align(query, text, teacher.text_mask, POSITIVE_GLIMPSE),
            scene_valid=scene_valid,
            scene_negative=negative[:, NEGATIVE_GLIMPSE],
            scene_contrast=scene_valid & contrast[:, 0],
            instance=self._align(query, text, teacher.text_mask, POSITIVE_GAZE)[:, None],
            instance_valid=gaze_valid[:, None],
            instance_negative=negative[:, NEGATIVE_GAZE],
            instance_contrast=(gaze_valid & contrast[:, 1])[:, None],
        )

    def _whole(self, vision: Tensor) -> Tensor:
        """[B, P, Dt] -> [B, 1, Dt]."""
        return vision[:, :1] if self.geometry.class_tokens else vision.float().mean(dim=1, keepdim=True)

    def _align(self, query: Tensor, text: Tensor, mask: Tensor, kind: int) -> Tensor:
        """[B, 1, d], [B, K, L, d], [B, K, L] -> [B, d] of unit length."""
        absent = ~never_empty(mask[:, kind])
        answer, _ = self.attention(query, text[:, kind], text[:, kind], absent, need_weights=False)
        return F.normalize(answer[:, 0].float(), dim=-1)


class ReleasedObjective(Objective):
    """The released code's terms under the released code's means."""

    def _masks(self, batch: Batch) -> Masks:
        """[B] each: a term is a mean over pictures that have anything of it."""
        masks = {name: mask.view(len(mask), -1).any(dim=1) for name, mask in annotation_masks(batch).items()}
        if self.alignment is not None and batch.teacher is not None:
            masks |= released_masks(self.alignment, batch.teacher)
        return masks

    def _annotation_terms(
        self, batch: Batch, seen: Recognition, situation: Situation, candidates: Tensor
    ) -> Terms:
        settings = self.settings
        everywhere = batch.verb >= 0
        exists, mask, nouns = batch.box_exists & batch.role_mask, batch.role_mask, batch.nouns
        return {
            "verb": losses.verb_loss(
                seen.verb_logits, batch.verb, candidates, everywhere, settings.verb_smoothing
            ),
            "noun": released_losses.noun_loss(situation.noun_logits, nouns, mask, settings.noun_smoothing),
            "noun_open": released_losses.noun_loss(
                situation.open_logits, nouns, mask, settings.noun_smoothing
            ),
            "box_l1": released_losses.box_l1_loss(situation.boxes, batch.boxes, exists),
            "box_giou": released_losses.box_giou_loss(situation.boxes, batch.boxes, exists),
            "box_exists": released_losses.box_exists_loss(situation.box_logits, exists, mask),
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
        gaze, negative = aligned.instance[:, 0], aligned.instance_negative
        return {
            "verb_distill": released_losses.distillation_loss(seen.verb, aligned.scene, aligned.scene_valid),
            "verb_negative": losses.negative_loss(
                aligned.scene, aligned.scene_negative, aligned.scene_contrast
            ),
            "noun_negative": losses.negative_loss(gaze, negative, aligned.instance_contrast[:, 0]),
        }
