"""Frozen vision towers of pretrained models: CLIP, SigLIP, BLIP-2.

Axes: B pictures, T = class tokens + patches, D width of a token. Published shapes T x D:
CLIP ViT-L/14-336 577 x 1024, BLIP-2 (EVA ViT-g/14, 224) 257 x 1408, SigLIP B/16-224 196 x 768.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from stages.data.geometry import Geometry
from stages.teacher.encoder import Floats
from stages.teacher.encoder_settings import VisionEncoderSettings
from stages.teacher.hf_checkpoint import Checkpoint, open_checkpoint
from stages.teacher.hf_device import memory_guard, quiet, resolve_device, resolve_precision, torch_dtype
from stages.teacher.hf_load import build_config, load_tower, release, tensors_under, tower_prefix

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig

# Raise it when a change here changes the tokens of the same picture.
ALGORITHM = 1
# The one tensor that every vision tower has and nothing else in these checkpoints does.
_ANCHOR = "embeddings.patch_embedding.weight"

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class _Family:
    """Class names in transformers, tokens before the patches, and pixel statistics of its training."""

    config: str
    model: str
    class_tokens: int
    mean: Triple
    std: Triple


# Statistics of the training pictures of CLIP (openai/CLIP, clip/clip.py), which BLIP-2 took over (LAVIS,
# blip_processors.py); SigLIP maps pixels to -1..1 (big_vision, value_range(-1, 1)).
_CLIP_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_CLIP = _Family("CLIPVisionConfig", "CLIPVisionModel", 1, *_CLIP_STATISTICS)
_SIGLIP = _Family("SiglipVisionConfig", "SiglipVisionModel", 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_BLIP2 = _Family("Blip2VisionConfig", "Blip2VisionModel", 1, *_CLIP_STATISTICS)
_FAMILIES = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "blip-2": _BLIP2,
    "blip_2_vision_model": _BLIP2,
}


class TransformersVision:
    """A `stages.teacher.encoder.VisionEncoder` over a vision tower from transformers.

    Reads the configuration at once, and at the first `encode` the weights, of which only the tower's.
    Raises UserError where the model is missing, incomplete or of a family not listed above.
    """

    def __init__(self, settings: VisionEncoderSettings) -> None:
        self.batch_size = settings.batch_size
        self._layer = settings.layer
        self._checkpoint = open_checkpoint(settings.model, settings.revision)
        raw = self._checkpoint.read_config()
        self._family = _family(settings.model, raw["model_type"])
        self._config = _tower_config(self._checkpoint, self._family, raw)
        self._mean, self._std = _pixel_statistics(self._checkpoint, self._family)
        self._device = resolve_device(settings.device)
        self._precision = resolve_precision(settings.precision, self._device)
        self._tower: nn.Module | None = None
        self.dim: int = self._config.hidden_size
        grid = self._config.image_size // self._config.patch_size
        # The frame is as wide as the patches reach: SigLIP so400m/14-384 has 27 patches of 14 pixels, so the
        # last 6 pixels of its 384 are seen by no patch, and boxes would be off by up to half a patch.
        size = grid * self._config.patch_size
        self.geometry = Geometry(size, settings.mode, grid, grid, self._family.class_tokens)
        self._check_layer(settings.model)

    def identity(self) -> Mapping[str, Any]:
        """Everything here that decides a token.

        Left out: device and batch size, which change only the rounding; and the version of transformers
        below its release number, because published towers are fixed and an upgrade must not throw away
        days of work. A release that does change their output is answered by raising ALGORITHM.
        """
        return {
            "encoder": "transformers-vision",
            "algorithm": ALGORITHM,
            "transformers": release(),
            **self._checkpoint.identity(lambda: tensors_under(self._checkpoint, self._prefix())),
            "tower": self._family.model,
            "layer": self._layer,
            "precision": self._precision,
            "geometry": self.geometry.to_json(),
            "mean": list(self._mean),
            "std": list(self._std),
        }

    def encode(self, frames: NDArray[np.uint8]) -> Floats:
        """[B, size, size, 3] uint8 -> [B, T, D] float32, `batch_size` pictures at a time."""
        assert frames.shape[1:] == (self.geometry.size, self.geometry.size, 3), frames.shape
        assert frames.dtype == np.uint8, frames.dtype
        tokens = np.empty((len(frames), self.geometry.tokens, self.dim), np.float32)
        for start in range(0, len(frames), self.batch_size):
            part = slice(start, start + self.batch_size)
            tokens[part] = self._forward(frames[part])
        return tokens

    def _forward(self, frames: NDArray[np.uint8]) -> Floats:
        import torch

        with torch.inference_mode(), memory_guard(self.batch_size):
            tower = self._load()
            pixels = self._normalise(torch.tensor(frames, device=self._device))
            output = tower(pixel_values=pixels, output_hidden_states=self._layer != -1)
            hidden = output.last_hidden_state if self._layer == -1 else output.hidden_states[self._layer]
            tokens: Floats = hidden.float().cpu().numpy()
        return tokens

    def _normalise(self, frames: Tensor) -> Tensor:
        """[B, size, size, 3] uint8 -> [B, 3, image_size, image_size], as the family's processor does it."""
        import torch

        scaled = frames.permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(self._mean, device=frames.device).view(1, 3, 1, 1)
        std = torch.tensor(self._std, device=frames.device).view(1, 3, 1, 1)
        margin = self._config.image_size - self.geometry.size  # pixels that no patch sees
        pixels = torch.nn.functional.pad((scaled - mean) / std, (0, margin, 0, margin))
        return pixels.to(torch_dtype(self._precision))

    def _load(self) -> nn.Module:
        if self._tower is None:
            with quiet():
                tower = load_tower(
                    self._checkpoint, self._family.model, self._config, self._prefix(), self._precision
                )
            self._tower = tower.to(self._device)
        return self._tower

    def _prefix(self) -> str:
        return tower_prefix(self._checkpoint, _ANCHOR, "vision tower")

    def _check_layer(self, model: str) -> None:
        lowest = -(self._config.num_hidden_layers + 1)
        if self._layer < lowest:
            raise UserError(
                f"layer {self._layer} is not one of {model}: its vision tower has "
                f"{self._config.num_hidden_layers} layers, so -1 (the last) to {lowest} (the embeddings)"
            )


def _family(model: str, model_type: str) -> _Family:
    family = _FAMILIES.get(model_type)
    if family is None:
        raise UserError(
            f"{model} is a {model_type!r} model, whose vision tower this version cannot read; "
            f"known: {', '.join(_FAMILIES)}"
        )
    return family


def _tower_config(checkpoint: Checkpoint, family: _Family, raw: dict[str, Any]) -> PretrainedConfig:
    """The tower's configuration: the `vision_config` of a whole model, or all of a lone tower's."""
    fields = dict(raw.get("vision_config", raw))
    if family is _SIGLIP:
        fields["vision_use_head"] = False  # the pooling head makes no tokens
    config = build_config(checkpoint, family.config, fields)
    for name in ("image_size", "patch_size"):
        if not isinstance(getattr(config, name), int):
            raise UserError(
                f"{name} of {checkpoint.model} is {getattr(config, name)!r}; only square frames, "
                "with one number, can be read"
            )
    return config


def _pixel_statistics(checkpoint: Checkpoint, family: _Family) -> tuple[Triple, Triple]:
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
