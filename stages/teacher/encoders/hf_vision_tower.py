"""The vision half of pretrained models: CLIP, SigLIP, BLIP-2, and Qwen-VL.

Axes: B pictures, S pixels of a frame's side, T = class tokens + patches, D width of a token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from stages.data.geometry import Geometry
from stages.teacher.encoders.encoder_settings import VisionEncoderSettings
from stages.teacher.encoders.hf_checkpoint import Checkpoint
from stages.teacher.encoders.hf_device import NumberFormat
from stages.teacher.encoders.hf_load import build_config, load_tower, tensors_under, tower_prefix

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig

Triple = tuple[float, float, float]

# Statistics of the training pictures of CLIP (openai/CLIP, clip/clip.py), which BLIP-2 took over (LAVIS,
# blip_processors.py), as did Qwen2-VL; SigLIP maps pixels to -1..1 (big_vision, value_range(-1, 1)), as does
# Qwen3-VL, whose tower began as SigLIP's.
_CLIP_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_ONE_TO_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
QWEN_SIZE = 448  # 16 x 16 merged patches of Qwen2-VL and Qwen2.5-VL, 14 x 14 of Qwen3-VL


@dataclass(frozen=True)
class Family:
    """Class names in transformers, tokens before the patches, and pixel statistics of its training.

    model   with its module in front where transformers does not export the class
    anchor  the one tensor that this vision tower has and nothing else in the checkpoint does
    merged  the tower merges patches, takes frames of any size, and wants them cut up beforehand
    """

    config: str
    model: str
    class_tokens: int
    mean: Triple
    std: Triple
    anchor: str = "embeddings.patch_embedding.weight"
    merged: bool = False


_CLIP = Family("CLIPVisionConfig", "CLIPVisionModel", 1, *_CLIP_STATISTICS)
_SIGLIP = Family("SiglipVisionConfig", "SiglipVisionModel", 0, *_ONE_TO_ONE)
_BLIP2 = Family("Blip2VisionConfig", "Blip2VisionModel", 1, *_CLIP_STATISTICS)


def _qwen(kind: str, config: str, model: str, mean: Triple, std: Triple) -> Family:
    model = f"transformers.models.{kind}.modeling_{kind}.{model}"
    return Family(config, model, 0, mean, std, "patch_embed.proj.weight", merged=True)


FAMILIES = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "blip-2": _BLIP2,
    "blip_2_vision_model": _BLIP2,
    "qwen2_vl": _qwen(
        "qwen2_vl", "Qwen2VLVisionConfig", "Qwen2VisionTransformerPretrainedModel", *_CLIP_STATISTICS
    ),
    "qwen2_5_vl": _qwen(
        "qwen2_5_vl",
        "Qwen2_5_VLVisionConfig",
        "Qwen2_5_VisionTransformerPretrainedModel",
        *_CLIP_STATISTICS,
    ),
    "qwen3_vl": _qwen("qwen3_vl", "Qwen3VLVisionConfig", "Qwen3VLVisionModel", *_ONE_TO_ONE),
}


class VisionTower(ABC):
    """One vision tower: its frame, and how its model is called.

    geometry   of the frames it is given
    seen_size  side of the pixels that the model is given: the frame's, and more where the edge holds no patch
    dim        width of a token
    """

    geometry: Geometry
    seen_size: int
    dim: int

    def __init__(self, checkpoint: Checkpoint, family: Family, config: PretrainedConfig) -> None:
        self.family, self._checkpoint, self._config = family, checkpoint, config

    def tensors(self) -> list[str]:
        """Names of the checkpoint's tensors that the tower uses."""
        return tensors_under(self._checkpoint, self._prefix())

    def load(self, precision: NumberFormat) -> nn.Module:
        """The model with its weights, on the CPU."""
        return load_tower(self._checkpoint, self.family.model, self._config, self._prefix(), precision)

    @abstractmethod
    def forward(self, model: nn.Module, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, seen_size, seen_size] -> [B, T, D]."""

    def _prefix(self) -> str:
        return tower_prefix(self._checkpoint, self.family.anchor, "vision tower")


class PatchTower(VisionTower):
    """CLIP, SigLIP and BLIP-2's EVA: square frames of the size that the model was trained on."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        family: Family,
        config: PretrainedConfig,
        settings: VisionEncoderSettings,
    ) -> None:
        super().__init__(checkpoint, family, config)
        for name in ("image_size", "patch_size"):
            _require_number(checkpoint, config, name)
        self.seen_size = config.image_size
        self.dim = config.hidden_size
        grid = config.image_size // config.patch_size
        # The frame is as wide as the patches reach: SigLIP so400m/14-384 has 27 patches of 14 pixels, so the
        # last 6 pixels of its 384 are seen by no patch, and boxes would be off by up to half a patch.
        size = grid * config.patch_size
        if settings.size not in (0, size):
            raise UserError(
                f"size {settings.size} is not the frame of {settings.model}, which sees {size} pixels a side "
                "and nothing else; leave size at 0"
            )
        self.geometry = Geometry(size, settings.mode, grid, grid, family.class_tokens)
        self._layer = settings.layer
        lowest = -(config.num_hidden_layers + 1)
        if settings.layer < lowest:
            raise UserError(
                f"layer {settings.layer} is not one of {settings.model}: its vision tower has "
                f"{config.num_hidden_layers} layers, so -1 (the last) to {lowest} (the embeddings)"
            )

    def forward(self, model: nn.Module, pixels: Tensor) -> Tensor:
        output = model(pixel_values=pixels, output_hidden_states=self._layer != -1)
        tokens: Tensor
        tokens = output.last_hidden_state if self._layer == -1 else output.hidden_states[self._layer]
        return tokens


class MergedTower(VisionTower):
    """Qwen-VL's: takes any frame of whole merged patches; what the language model is given are its tokens.

    The model's own way, a size for every picture, would give every picture another number of tokens, and a
    bank's rows have one shape: so all pictures are laid into one square frame.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        family: Family,
        config: PretrainedConfig,
        settings: VisionEncoderSettings,
    ) -> None:
        super().__init__(checkpoint, family, config)
        for name in ("patch_size", "spatial_merge_size", "temporal_patch_size"):
            _require_number(checkpoint, config, name)
        if settings.layer != -1:
            raise UserError(
                f"layer {settings.layer} of {settings.model} has patches that are not merged yet; only -1, "
                "what the language model is given, can be read"
            )
        self._patch, self._merge = config.patch_size, config.spatial_merge_size
        unit = self._patch * self._merge
        size = settings.size or QWEN_SIZE
        if size % unit:
            raise UserError(
                f"size {size} does not fit {settings.model}: its merged patches are {unit} pixels a side; "
                f"set size to {max(1, size // unit) * unit} or another multiple"
            )
        self.seen_size = size
        # Qwen2-VL's hidden_size is the width of what leaves the tower, as is out_hidden_size of the later.
        self.dim = getattr(config, "out_hidden_size", None) or config.hidden_size
        self.geometry = Geometry(size, settings.mode, size // unit, size // unit, family.class_tokens)

    def forward(self, model: nn.Module, pixels: Tensor) -> Tensor:
        import torch

        side = self.seen_size // self._patch
        grid = torch.tensor([[1, side, side]] * len(pixels), device=pixels.device)
        output = model(self._patches(pixels), grid_thw=grid)
        tokens: Tensor = output.pooler_output.view(len(pixels), self.geometry.tokens, self.dim)
        return tokens

    def _patches(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B * patches, 3 * T * P * P]: patches of one merged patch stand together.

        As `Qwen2VLImageProcessor` lays them out; a picture is a film of `temporal_patch_size` equal frames.
        """
        merge, patch, cells = self._merge, self._patch, self.geometry.rows
        cut = pixels.view(len(pixels), 3, cells, merge, patch, cells, merge, patch)
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
        film = cut.expand(*cut.shape[:6], self._config.temporal_patch_size, *cut.shape[7:])
        return film.reshape(len(pixels) * (cells * merge) ** 2, -1)


def open_tower(checkpoint: Checkpoint, settings: VisionEncoderSettings) -> VisionTower:
    """The tower of a checkpoint; reads its configuration only. Raises UserError where it is not known."""
    raw = checkpoint.read_config()
    family = FAMILIES.get(raw["model_type"])
    if family is None:
        raise UserError(
            f"{settings.model} is a {raw['model_type']!r} model, whose vision tower this version cannot "
            f"read; known: {', '.join(FAMILIES)}"
        )
    fields = dict(raw.get("vision_config", raw))  # all of a lone tower's
    if family is _SIGLIP:
        fields["vision_use_head"] = False  # the pooling head makes no tokens
    config = build_config(checkpoint, family.config, fields)
    kind = MergedTower if family.merged else PatchTower
    return kind(checkpoint, family, config, settings)


def pixel_statistics(checkpoint: Checkpoint, family: Family) -> tuple[Triple, Triple]:
    """Mean and standard deviation of pixels in 0..1, by the model's own files or else the family's."""
    # transformers 5 writes the picture processor into processor_config.json, earlier ones beside it.
    whole = checkpoint.read_json("processor_config.json") or {}
    fields = checkpoint.read_json("preprocessor_config.json") or whole.get("image_processor") or {}
    mean, std = fields.get("image_mean", family.mean), fields.get("image_std", family.std)
    return _triple(checkpoint, "image_mean", mean), _triple(checkpoint, "image_std", std)


def _triple(checkpoint: Checkpoint, name: str, values: Any) -> Triple:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise UserError(
            f"{name} of {checkpoint.model} is {values!r}, not three numbers for red, green and blue; "
            "correct its preprocessor_config.json"
        ) from None
    return red, green, blue


def _require_number(checkpoint: Checkpoint, config: PretrainedConfig, name: str) -> None:
    value: Any = getattr(config, name)
    if not isinstance(value, int):
        raise UserError(
            f"{name} of {checkpoint.model} is {value!r}; only square frames, with one number, can be read"
        )
