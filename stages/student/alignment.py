"""NMPA, Negative-Guided Multimodal Prompting Alignment: what the teacher knows, in the student's width.

Axes: B pictures, P teacher tokens (class + rows * cols), R roles, K kinds of rationale, L text tokens,
G = instance_grid squared points in a role's box, d width, h heads.

The teacher's patches ask, the positive rationale's tokens answer. A value is the projected token itself,
without a further map, so that an aligned vector and a pooled negative rationale lie in one space and
their cosine means something.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache.kinds import KINDS, Kind
from stages.data.geometry import Geometry
from stages.student.batch import TeacherTargets
from stages.student.cosine import CosineLogits
from stages.student.masks import never_empty
from stages.student.settings import StudentSettings

PROMPT_STD = 0.02  # small beside projected tokens, whose coordinates start at about 0.6

POSITIVE_GLIMPSE = KINDS.index(Kind("glimpse", "positive"))
NEGATIVE_GLIMPSE = KINDS.index(Kind("glimpse", "negative"))
POSITIVE_GAZE = KINDS.index(Kind("gaze", "positive"))
NEGATIVE_GAZE = KINDS.index(Kind("gaze", "negative"))


@dataclass(frozen=True, slots=True)
class Aligned:
    """The teacher's targets; all vectors of unit length, meaningless where their mask is False.

    scene              [B, d] g, the picture's patches aligned with the positive glimpse
    scene_valid        [B] bool
    scene_negative     [B, d] g-, the negative glimpse
    scene_contrast     [B] bool, both g and g- are there and negatives are switched on
    instance           [B, R, d] the patches of each role's box aligned with the positive gaze
    instance_valid     [B, R] bool
    instance_negative  [B, d] the negative gaze
    instance_contrast  [B, R] bool
    """

    scene: Tensor
    scene_valid: Tensor
    scene_negative: Tensor
    scene_contrast: Tensor
    instance: Tensor
    instance_valid: Tensor
    instance_negative: Tensor
    instance_contrast: Tensor


class ScenePrompt(nn.Module):
    """One learnable vector per edge of the patch grid, added to the rows or columns along that edge."""

    def __init__(self, rows: int, cols: int, border: int, dim: int) -> None:
        super().__init__()
        self.edges = nn.Parameter(torch.randn(4, dim) * PROMPT_STD)  # top, bottom, left, right
        row, col = torch.arange(rows), torch.arange(cols)
        along = torch.zeros(rows, cols, 4)
        along[row < border, :, 0] = 1
        along[row >= rows - border, :, 1] = 1
        along[:, col < border, 2] = 1
        along[:, col >= cols - border, 3] = 1
        self.register_buffer("along", along.flatten(0, 1), persistent=False)
        self.along: Tensor

    def forward(self, patches: Tensor) -> Tensor:
        """[B, rows * cols, d] -> the same with the prompt added."""
        return patches + self.along @ self.edges


class InstancePrompt(nn.Module):
    """A learnable map of grid x grid vectors, laid into each box."""

    def __init__(self, grid: int, dim: int) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(grid * grid, dim) * PROMPT_STD)

    def forward(self, points: Tensor) -> Tensor:
        """[B, R, G, d] -> the same with the prompt added."""
        return points + self.map


class Alignment(nn.Module):
    """Trains with the student and is left behind when training ends.

    geometry    of the teacher's bank
    vision_dim  width of its tokens
    text_dim    width of the rationale's tokens
    """

    def __init__(self, settings: StudentSettings, geometry: Geometry, vision_dim: int, text_dim: int) -> None:
        super().__init__()
        d = settings.dim
        self.geometry = geometry
        self.grid = settings.instance_grid
        self.heads = settings.alignment_heads
        self.negatives = settings.negatives
        # Encoders differ in scale by orders of magnitude, so tokens are normalised before they are mapped.
        self.vision = nn.Sequential(nn.LayerNorm(vision_dim), nn.Linear(vision_dim, d))
        self.text = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, d))
        self.query = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d))
        self.key = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d))
        self.scene_prompt = self.instance_prompt = None
        if settings.prompts:
            self.scene_prompt = ScenePrompt(geometry.rows, geometry.cols, settings.scene_border, d)
            self.instance_prompt = InstancePrompt(self.grid, d)
        self.verb_logits = CosineLogits()
        self.noun_logits = CosineLogits()

    def forward(self, teacher: TeacherTargets) -> Aligned:
        patches = self.vision(teacher.vision[:, self.geometry.class_tokens :].to(self._dtype))
        text = self.text(teacher.text.to(self._dtype))
        told = teacher.text_mask.any(dim=-1)  # [B, K] the rationale is there
        scene = self._scene(patches, text[:, POSITIVE_GLIMPSE], teacher.text_mask[:, POSITIVE_GLIMPSE])
        instance = self._instance(
            patches, teacher.role_boxes, text[:, POSITIVE_GAZE], teacher.text_mask[:, POSITIVE_GAZE]
        )
        negative = masked_pool(text, teacher.text_mask)  # [B, K, d]
        scene_valid = told[:, POSITIVE_GLIMPSE]
        instance_valid = teacher.role_box_valid & told[:, POSITIVE_GAZE, None]
        return Aligned(
            scene=scene,
            scene_valid=scene_valid,
            scene_negative=negative[:, NEGATIVE_GLIMPSE],
            scene_contrast=scene_valid & told[:, NEGATIVE_GLIMPSE] & self.negatives,
            instance=instance,
            instance_valid=instance_valid,
            instance_negative=negative[:, NEGATIVE_GAZE],
            instance_contrast=instance_valid & told[:, NEGATIVE_GAZE, None] & self.negatives,
        )

    @property
    def _dtype(self) -> torch.dtype:
        return self.verb_logits.log_scale.dtype

    def _scene(self, patches: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """[B, rows * cols, d], [B, L, d], [B, L] -> [B, d].

        Pooled over the patches: the class token's own query sees no patch, so pooling by it alone would
        leave the prompt without a gradient.
        """
        prompted = patches if self.scene_prompt is None else self.scene_prompt(patches)
        return F.normalize(self._attend(prompted, text, mask).mean(dim=1), dim=-1)

    def _instance(self, patches: Tensor, boxes: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """[B, rows * cols, d], [B, R, 4], [B, L, d], [B, L] -> [B, R, d], pooled over each role's box."""
        points = sample_boxes(patches, boxes, self.geometry, self.grid)
        prompted = points if self.instance_prompt is None else self.instance_prompt(points)
        aligned = self._attend(prompted.flatten(1, 2), text, mask).view_as(points)
        return F.normalize(aligned.mean(dim=2), dim=-1)

    def _attend(self, asking: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """[B, S, d], [B, L, d], [B, L] -> [B, S, d] weighted means of the text tokens, one set per head."""
        query, key, value = (
            tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, h, S or L, d / h]
            for tokens in (self.query(asking), self.key(text), text)
        )
        seen = never_empty(mask)[:, None, None, :]
        answer = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return answer.transpose(1, 2).flatten(2)


def masked_pool(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real tokens, [..., L, d] and [..., L] -> [..., d] of unit length; 0 where none is real."""
    weights = mask.to(tokens.dtype)
    total = (weights[..., None] * tokens).sum(dim=-2)
    return F.normalize(total / weights.sum(dim=-1, keepdim=True).clamp(min=1), dim=-1)


def sample_boxes(patches: Tensor, boxes: Tensor, geometry: Geometry, grid: int) -> Tensor:
    """The patch map read at grid x grid points in every box, bilinear.

    patches  [B, rows * cols, d]
    boxes    [B, R, 4] x1 y1 x2 y2 in 0..1 of the frame; whatever stands there is read
    returns  [B, R, grid * grid, d], row by row
    """
    steps = (torch.arange(grid, device=boxes.device, dtype=patches.dtype) + 0.5) / grid
    corners = boxes.to(patches.dtype).clamp(0, 1)
    low, side = corners[..., :2], corners[..., 2:] - corners[..., :2]  # [B, R, 2]
    x = low[..., 0, None] + steps * side[..., 0, None]  # [B, R, grid]
    y = low[..., 1, None] + steps * side[..., 1, None]
    shape = (*x.shape[:2], grid, grid)  # [B, R, rows, cols]
    points = torch.stack([x[..., None, :].expand(shape), y[..., :, None].expand(shape)], dim=-1)
    points = points.flatten(2, 3) * 2 - 1  # [B, R, G, 2]; grid_sample counts from -1 to 1
    frame = patches.transpose(1, 2).reshape(len(patches), -1, geometry.rows, geometry.cols)
    read = F.grid_sample(frame, points, mode="bilinear", padding_mode="border", align_corners=False)
    return read.permute(0, 2, 3, 1)
