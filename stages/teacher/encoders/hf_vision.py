"""Frozen vision towers of pretrained models: CLIP, SigLIP, BLIP-2, Qwen-VL.

Axes: B pictures, T = class tokens + patches, D width of a token. Published shapes T x D:
CLIP ViT-L/14-336 577 x 1024, BLIP-2 (EVA ViT-g/14, 224) 257 x 1408, SigLIP B/16-224 196 x 768,
Qwen2.5-VL-7B 256 x 3584 in frames of 448 pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.teacher.encoders.device_batches import DeviceBatches
from stages.teacher.encoders.encoder import Floats
from stages.teacher.encoders.encoder_settings import VisionEncoderSettings
from stages.teacher.encoders.hf_checkpoint import open_checkpoint
from stages.teacher.encoders.hf_device import (
    free_memory,
    loading_guard,
    quiet,
    resolve_device,
    resolve_precision,
    torch_dtype,
)
from stages.teacher.encoders.hf_load import release
from stages.teacher.encoders.hf_vision_tower import open_tower, pixel_statistics

if TYPE_CHECKING:
    from torch import Tensor, nn

# Raise it when a change here changes the tokens of the same picture.
ALGORITHM = 1


class TransformersVision:
    """A `stages.teacher.encoders.encoder.VisionEncoder` over a vision tower from transformers.

    Reads the configuration at once, and at the first `encode` the weights, of which only the tower's.
    Raises UserError where the model is missing, incomplete or of a family that is not known.

    say  told where the device has no room for a batch
    """

    def __init__(self, settings: VisionEncoderSettings, say: Callable[[str], None] | None = None) -> None:
        self._batches = DeviceBatches(settings.batch_size, say)
        self._layer = settings.layer
        self._checkpoint = open_checkpoint(settings.model, settings.revision)
        self._tower = open_tower(self._checkpoint, settings)
        self._mean, self._std = pixel_statistics(self._checkpoint, self._tower.family)
        self._device = resolve_device(settings.device)
        self._precision = resolve_precision(settings.precision, self._device)
        self._model: nn.Module | None = None
        self.geometry, self.dim = self._tower.geometry, self._tower.dim

    @property
    def batch_size(self) -> int:
        return self._batches.size

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
            **self._checkpoint.identity(self._tower.tensors),
            "tower": self._tower.family.model.rpartition(".")[2],
            "layer": self._layer,
            "precision": self._precision,
            "geometry": self.geometry.to_json(),
            "mean": list(self._mean),
            "std": list(self._std),
        }

    def encode(self, frames: NDArray[np.uint8]) -> Floats:
        """[B, size, size, 3] uint8 -> [B, T, D] float32, `batch_size` pictures at a time.

        Raises MachineError where the GPU has no room for the model, or not even for one picture.
        """
        assert frames.shape[1:] == (self.geometry.size, self.geometry.size, 3), frames.shape
        assert frames.dtype == np.uint8, frames.dtype
        tokens = np.empty((len(frames), self.geometry.tokens, self.dim), np.float32)

        def forward(part: slice) -> None:
            tokens[part] = self._forward(model, frames[part])

        if len(frames):
            model = self._load()
            self._batches.run(len(frames), forward)
        return tokens

    def close(self) -> None:
        if self._model is not None:
            self._model = None
            free_memory()

    def _forward(self, model: nn.Module, frames: NDArray[np.uint8]) -> Floats:
        import torch

        with torch.inference_mode():
            pixels = self._normalise(torch.tensor(frames, device=self._device))
            tokens: Floats = self._tower.forward(model, pixels).float().cpu().numpy()
        return tokens

    def as_module(self) -> nn.Module:
        """The same from a tensor of frames to a tensor of tokens, fp32 on the CPU, for an export."""
        from torch import nn

        encoder = self

        class _FramesToTokens(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.tower = copy.deepcopy(encoder._load()).cpu().float()

            def forward(self, frames: Tensor) -> Tensor:
                return encoder._tower.forward(self.tower, encoder._pixels(frames)).float()

        return _FramesToTokens().eval()

    def _normalise(self, frames: Tensor) -> Tensor:
        return self._pixels(frames).to(torch_dtype(self._precision))

    def _pixels(self, frames: Tensor) -> Tensor:
        """[B, size, size, 3] uint8 -> [B, 3, seen_size, seen_size], as the family's processor does it."""
        import torch

        scaled = frames.permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(self._mean, device=frames.device).view(1, 3, 1, 1)
        std = torch.tensor(self._std, device=frames.device).view(1, 3, 1, 1)
        margin = self._tower.seen_size - self.geometry.size  # pixels that no patch sees
        return torch.nn.functional.pad((scaled - mean) / std, (0, margin, 0, margin))

    def _load(self) -> nn.Module:
        if self._model is None:
            with quiet(), loading_guard(self._checkpoint.model):
                self._model = self._tower.load(self._precision).to(self._device)
        return self._model
