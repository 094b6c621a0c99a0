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
from stages.student.network.cosine import CosineLogits
from stages.student.network.masks import never_empty
from stages.student.network.token_input import TokenInput
from stages.student.reading.batch import TeacherTargets
from stages.student.settings import StudentSettings

PROMPT_STD = 0.02  # small beside projected tokens, whose coordinates start at about 0.6

POSITIVE_GLIMPSE = KINDS.index(Kind("glimpse", "positive"))
NEGATIVE_GLIMPSE = KINDS.index(Kind("glimpse", "negative"))
POSITIVE_GAZE = KINDS.index(Kind("gaze", "positive"))
NEGATIVE_GAZE = KINDS.index(Kind("gaze", "negative"))
NEGATIVES = [NEGATIVE_GLIMPSE, NEGATIVE_GAZE]


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
        return patches + (self.along @ self.edges).to(patches.dtype)


class InstancePrompt(nn.Module):
    """A learnable map of grid x grid vectors, laid into each box."""

    def __init__(self, grid: int, dim: int) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(grid * grid, dim) * PROMPT_STD)

    def forward(self, points: Tensor) -> Tensor:
        """[B, R, G, d] -> the same with the prompt added."""
        return points + self.map.to(points.dtype)


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
        self.scene, self.gaze = settings.scene_distill, settings.gaze_distill
        self.negatives = settings.negatives
        self.vision = TokenInput(vision_dim, d)
        self.text = TokenInput(text_dim, d)
        self.query = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d))
        self.key = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d))
        self.scene_prompt = self.instance_prompt = None
        if settings.prompts:
            self.scene_prompt = ScenePrompt(geometry.rows, geometry.cols, settings.scene_border, d)
            self.instance_prompt = InstancePrompt(self.grid, d)
        self.verb_logits = CosineLogits()
        self.noun_logits = CosineLogits()

    def forward(self, teacher: TeacherTargets) -> Aligned:
        patches = self.vision(teacher.vision)[:, self.geometry.class_tokens :]
        words, mask = self.text.normalise(teacher.text), teacher.text_mask
        told = mask.any(dim=-1)  # [B, K] the rationale is there
        scene = self._scene(patches, self.text.project(words[:, POSITIVE_GLIMPSE]), mask[:, POSITIVE_GLIMPSE])
        gaze = self.text.project(words[:, POSITIVE_GAZE])
        instance = self._instance(patches, teacher.role_boxes, gaze, mask[:, POSITIVE_GAZE])
        negative = self.pool(words[:, NEGATIVES], mask[:, NEGATIVES])
        scene_valid = told[:, POSITIVE_GLIMPSE] & self.scene
        instance_valid = teacher.role_box_valid & told[:, POSITIVE_GAZE, None] & self.gaze
        return Aligned(
            scene=scene,
            scene_valid=scene_valid,
            scene_negative=negative[:, 0],
            scene_contrast=scene_valid & told[:, NEGATIVE_GLIMPSE] & self.negatives,
            instance=instance,
            instance_valid=instance_valid,
            instance_negative=negative[:, 1],
            instance_contrast=instance_valid & told[:, NEGATIVE_GAZE, None] & self.negatives,
        )

    def pool(self, words: Tensor, mask: Tensor) -> Tensor:
        """[..., L, Dx] of `text.normalise`, [..., L] -> [..., d], the mean projected token; 0 where none.

        Of unit length. A mean goes through a linear map unchanged, so one vector is projected instead of L.
        """
        pooled = self.text.project(masked_mean_token(words, mask))
        return F.normalize(pooled.float() * mask.any(dim=-1, keepdim=True), dim=-1)

    def _scene(self, patches: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """[B, rows * cols, d], [B, L, d], [B, L] -> [B, d].

        Pooled over the patches: the class token's own query sees no patch, so pooling by it alone would
        leave the prompt without a gradient.
        """
        prompted = patches if self.scene_prompt is None else self.scene_prompt(patches)
        return self._attend(prompted[:, None], text, mask)[:, 0]

    def _instance(self, patches: Tensor, boxes: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """[B, rows * cols, d], [B, R, 4], [B, L, d], [B, L] -> [B, R, d], pooled over each role's box."""
        points = sample_boxes(patches, boxes, self.geometry, self.grid)
        prompted = points if self.instance_prompt is None else self.instance_prompt(points)
        return self._attend(prompted, text, mask)

    def _attend(self, asking: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """[B, R, S, d], [B, L, d], [B, L] -> [B, R, d] of unit length, the mean over the S that ask.

        What one of them is answered is a weighted mean of the text tokens, one set of weights per head; the
        mean of the answers is the answer of the mean weights, so no answer is computed but the last.
        """
        query, key, value = (
            tokens.unflatten(-1, (self.heads, -1)) for tokens in (self.query(asking), self.key(text), text)
        )  # [B, ..., h, d / h]
        groups, points = asking.shape[1:3]
        query = query.flatten(1, 2).transpose(1, 2) * query.shape[-1] ** -0.5  # [B, h, R * S, d / h]
        scores = query @ key.permute(0, 2, 3, 1)
        scores = scores.masked_fill(~never_empty(mask)[:, None, None, :], float("-inf"))
        weights = scores.softmax(dim=-1).unflatten(2, (groups, points)).mean(dim=3)  # [B, h, R, L]
        answer = weights @ value.transpose(1, 2)  # [B, h, R, d / h]
        return F.normalize(answer.transpose(1, 2).flatten(2).float(), dim=-1)


def masked_mean_token(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real tokens, [..., L, D] and [..., L] -> [..., D]; 0 where none is real."""
    count = mask.sum(dim=-1, keepdim=True).clamp(min=1)
    weights = (mask / count).to(tokens.dtype)
    return (weights[..., None, :] @ tokens)[..., 0, :]


def sample_boxes(patches: Tensor, boxes: Tensor, geometry: Geometry, grid: int) -> Tensor:
    """The patch map read at grid x grid points in every box, bilinear; beyond the border, the border.

    patches  [B, rows * cols, d]
    boxes    [B, R, 4] x1 y1 x2 y2 in 0..1 of the frame; whatever stands there is read
    returns  [B, R, grid * grid, d], row by row

    A product with the patches' shares in each point: as ``F.grid_sample``, but in the type the patches have
    and without two transposed copies of them.
    """
    steps = (torch.arange(grid, device=boxes.device, dtype=torch.float32) + 0.5) / grid
    corners = boxes.float().clamp(0, 1)
    low, side = corners[..., :2], corners[..., 2:] - corners[..., :2]  # [B, R, 2]
    x = _shares(low[..., 0, None] + steps * side[..., 0, None], geometry.cols)  # [B, R, grid, cols]
    y = _shares(low[..., 1, None] + steps * side[..., 1, None], geometry.rows)  # [B, R, grid, rows]
    shares = y[..., :, None, :, None] * x[..., None, :, None, :]  # [B, R, grid, grid, rows, cols]
    read = shares.flatten(4, 5).flatten(1, 3).to(patches.dtype) @ patches
    return read.view(*boxes.shape[:2], grid * grid, -1)


def _shares(places: Tensor, count: int) -> Tensor:
    """[...] in 0..1 of `count` cells in a row -> [..., count] what each cell's middle counts there."""
    middles = torch.arange(count, device=places.device)
    at = (places * count - 0.5).clamp(0, count - 1)
    return (1 - (at[..., None] - middles).abs()).clamp(min=0)
