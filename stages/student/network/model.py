"""The student: from frozen vision tokens and label text to a grounded situation.

Axes: B pictures, Q vision tokens (class + rows * cols), R roles, V verbs, N nouns, d width.
No parameter belongs to a verb or a role: both enter as text, so any verb with any roles can be asked for
(unless `StudentSettings.text_queries` is off or `as_released` on, for comparison).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.data.geometry import Geometry
from stages.student.network.cosine import CosineLogits, PlainLogits
from stages.student.network.decoder import DecoderLayer
from stages.student.network.dropout import Dropout
from stages.student.network.labels import LabelTexts, LabelVectors
from stages.student.network.masks import never_empty
from stages.student.network.queries import LearnedQueries, TextQueries
from stages.student.network.token_input import TokenInput
from stages.student.settings import StudentSettings
from stages.student.training.precision import full_precision


@dataclass(frozen=True, slots=True)
class Recognition:
    """What the student sees before it knows the verb.

    memory       [B, Q, d] vision tokens in the student's width, for `Student.situate`
    verb         [B, d] verb vector of unit length (of any length where `as_released` is on)
    verb_logits  [B, V] for the verbs that were asked about
    """

    memory: Tensor
    verb: Tensor
    verb_logits: Tensor


@dataclass(frozen=True, slots=True)
class Situation:
    """What fills the roles of one verb per picture; meaningless where the role mask is False.

    roles        [B, R, d] role vectors of unit length, in the space of the nouns' text
    noun_logits  [B, R, N] of the classifier, in the order of the noun classes
    open_logits  [B, R, N'] against the nouns' text, whichever nouns were asked about
    boxes        [B, R, 4] cx cy w h in 0..1 of the student's frame
    box_logits   [B, R] that the role has a box; 0 or more means yes
    """

    roles: Tensor
    noun_logits: Tensor
    open_logits: Tensor
    boxes: Tensor
    box_logits: Tensor


class Student(nn.Module):
    """geometry of the student's bank, vision_dim of its tokens, label_dim of label texts, noun classes.

    roles  [V, R] of `role_numbers`; only where the queries are learned
    """

    def __init__(
        self,
        settings: StudentSettings,
        geometry: Geometry,
        vision_dim: int,
        label_dim: int,
        nouns: int,
        roles: Tensor | None = None,
    ) -> None:
        super().__init__()
        d = settings.dim
        self.geometry = geometry
        self.input = TokenInput(vision_dim, d)
        self.input_dropout = Dropout(settings.input_dropout)
        self.verb_projection = _rotation(d)
        self.verb_cosine: nn.Module = CosineLogits(settings.learned_scale)
        self.as_released = settings.as_released
        if self.as_released:
            # A class token of unit length gets a vector of length sqrt(d), whose products need no scale.
            nn.init.normal_(self.verb_projection.weight)
            self.verb_cosine = PlainLogits()
        if settings.text_queries and not settings.as_released:
            self.role_query: TextQueries | LearnedQueries = TextQueries(d)
        else:
            assert roles is not None, "learned queries need to know the roles of the verbs"
            self.role_query = LearnedQueries(d, roles)
        self.memory_norm = nn.LayerNorm(d)
        self.decoder = DecoderLayer(d, settings.heads, settings.feed_forward, settings.decoder_dropout)
        self.decoder_norm = nn.LayerNorm(d)
        self.noun_projection = _rotation(d)
        self.noun_cosine = CosineLogits(settings.learned_scale)
        hidden, dropout = settings.head_hidden, settings.head_dropout
        self.noun_head = _head(d, [hidden], nouns, dropout)
        self.box_head = _head(d, [hidden, hidden], 4, dropout)
        self.exists_head = _head(d, [hidden], 1, dropout)
        self.register_buffer("label_map", label_map(label_dim, d))
        self.label_map: Tensor
        # Zero unless `centre_labels` is on; verbs of another vocabulary are measured from the same centres.
        self.register_buffer("label_centres", torch.zeros(3, label_dim))
        self.label_centres: Tensor
        self.register_buffer("positions", patch_positions(geometry, d), persistent=False)
        self.positions: Tensor

    def label_vectors(self, texts: LabelTexts) -> LabelVectors:
        """Label texts in the student's width and of unit length; once per set of labels, not per step.

        The map is fixed: one that trained would be fitted to the seen verbs' texts, and would move the
        unseen ones to wherever that takes them.
        """
        mask = texts.role_mask.to(self.label_map.device)
        verb, role, noun = (
            self.map_labels(text.to(self.label_map) - centre)
            for text, centre in zip((texts.verb, texts.role, texts.noun), self.label_centres, strict=True)
        )
        role = role * mask[..., None]
        bias = None if texts.verb_bias is None else texts.verb_bias.to(self.label_map)
        return LabelVectors(verb=verb, role=role, role_mask=mask, noun=noun, verb_bias=bias)

    def map_labels(self, text: Tensor) -> Tensor:
        """[..., E] less the centre of its kind -> [..., d] of unit length."""
        return F.normalize(text @ self.label_map, dim=-1)

    def forward(self, vision: Tensor, labels: LabelVectors) -> Recognition:
        """[B, Q, Ds] in any float type -> verb logits over every verb of `labels`."""
        memory = self.input_dropout(self.input(vision))
        verb = self.verb_vector(memory)
        with full_precision(verb):
            logits = self.verb_cosine(verb, labels.verb)
            return Recognition(memory, verb, labels.raised(logits))

    def verb_vector(self, memory: Tensor) -> Tensor:
        """[B, Q, d] -> [B, d]: the class token; the mean of the patches where the encoder has none.

        The projection has no bias, so it does not matter that the length is taken off after it; the released
        code takes it off before, and its vector is of no fixed length.
        """
        whole = memory[:, 0] if self.geometry.class_tokens else memory.mean(dim=1)
        if self.as_released:
            projected: Tensor = self.verb_projection(F.normalize(whole.float(), dim=-1))
            return projected.float()
        return F.normalize(self.verb_projection(whole).float(), dim=-1)

    def situate_verbs(self, memory: Tensor, labels: LabelVectors, verb: Tensor) -> Situation:
        """[B, Q, d] and [B] rows of `labels` -> the situation of that verb in each picture."""
        query = self.role_query.of_verbs(labels, verb)
        return self._decode(memory, query, labels.role_mask[verb], labels.noun)

    def situate(
        self, memory: Tensor, verb_text: Tensor, role_text: Tensor, role_mask: Tensor, noun_text: Tensor
    ) -> Situation:
        """[B, Q, d], [B, d], [B, R, d], [B, R], [N', d] -> the situation; texts as in `LabelVectors`."""
        return self._decode(memory, self.role_query.of_texts(verb_text, role_text), role_mask, noun_text)

    def _decode(self, memory: Tensor, query: Tensor, role_mask: Tensor, noun_text: Tensor) -> Situation:
        """[B, Q, d], [B, R, d], [B, R], [N', d] -> the situation."""
        placed = self.memory_norm(memory)
        placed = placed + self.positions.to(placed.dtype)
        decoded = self.decoder_norm(self.decoder(query, placed, ~never_empty(role_mask)))
        roles = F.normalize(self.noun_projection(decoded).float(), dim=-1)
        # Thousands of nouns are the larger part of a step's products, and only in evaluation are they ranked.
        noun_logits, open_logits = self._noun_logits(decoded, roles, noun_text)
        with full_precision(decoded):
            return Situation(
                roles=roles,
                noun_logits=noun_logits,
                open_logits=open_logits,
                boxes=self.box_head(decoded.float()).sigmoid(),
                box_logits=self.exists_head(decoded.float())[..., 0],
            )

    def _noun_logits(self, decoded: Tensor, roles: Tensor, noun_text: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            return self.noun_head(decoded), self.noun_cosine(roles, noun_text)
        with full_precision(decoded):
            return self.noun_head(decoded.float()), self.noun_cosine(roles, noun_text)


def _rotation(dim: int) -> nn.Linear:
    """A square map that starts as a rotation and has no bias.

    A bias would favour the labels near it, which are labels that were seen in training.
    """
    layer = nn.Linear(dim, dim, bias=False)
    nn.init.orthogonal_(layer.weight)
    return layer


def _head(dim: int, hidden: list[int], out: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(dim, width), nn.GELU(), nn.Dropout(dropout)]
        dim = width
    return nn.Sequential(*layers, nn.Linear(dim, out))


def label_map(label_dim: int, dim: int) -> Tensor:
    """[E, d], the identity where E = d; otherwise orthonormal rows (E < d) or columns (E > d).

    The same for every seed, so that it is no source of difference between runs. With E <= d all cosines
    between texts stay what they are; with E > d they change by about 1 / sqrt(d).
    """
    if label_dim == dim:
        return torch.eye(dim)
    drawn = torch.randn(max(label_dim, dim), min(label_dim, dim), generator=torch.Generator().manual_seed(0))
    orthonormal: Tensor = torch.linalg.qr(drawn).Q
    return orthonormal if label_dim > dim else orthonormal.T.contiguous()


def patch_positions(geometry: Geometry, dim: int) -> Tensor:
    """[Q, d] sines and cosines of each patch's y and x at geometric frequencies; 0 for the class token.

    After DETR (Carion et al., ECCV 2020): the first half of the width tells y, the second x.
    """
    quarter = dim // 4
    wave = 2 * math.pi / 10000 ** (torch.arange(quarter) / quarter)

    def waves(count: int) -> Tensor:
        angle = ((torch.arange(count) + 0.5) / count)[:, None] * wave
        return torch.cat([angle.sin(), angle.cos()], dim=-1)  # [count, d / 2]

    y = waves(geometry.rows)[:, None].expand(-1, geometry.cols, -1)
    x = waves(geometry.cols)[None].expand(geometry.rows, -1, -1)
    patches = torch.cat([y, x], dim=-1).flatten(0, 1)
    return torch.cat([torch.zeros(geometry.class_tokens, dim), patches])
