"""Encoders that are a multimodal language model itself: its hidden states of pictures and of texts.

Axes: B pictures or texts, T picture tokens, L tokens of the longest text, D the model's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache.errors import UserError
from stages.data.geometry import Geometry
from stages.teacher.encoders.encoder import Floats, TextTokens
from stages.teacher.encoders.encoder_settings import (
    EncoderSettings,
    TextEncoderSettings,
    VisionEncoderSettings,
)
from stages.teacher.encoders.hf_checkpoint import Checkpoint, open_checkpoint
from stages.teacher.encoders.hf_device import NumberFormat, quiet, resolve_device, resolve_precision
from stages.teacher.encoders.hf_hub import first_line
from stages.teacher.encoders.hf_tokenizer import open_tokenizer
from stages.teacher.engines.vllm_settings import EXAMPLE
from stages.teacher.engines.vllm_states import HiddenStates, States
from stages.teacher.engines.vlm_files import DECIDING, architecture

# Raise it when a change here changes the tokens of the same picture or text.
ALGORITHM = 1
VISION_SECTION, TEXT_SECTION = "embed.teacher_vision", "embed.text"
MAX_TOKENS = 128  # of a text; the limit of such a model is thousands, and the bank has room for the limit
# PromptEOL (Jiang et al., "Scaling Sentence Embeddings with Large Language Models", arXiv 2307.16645): asked
# for the text in one word, an untrained decoder's last state sums the text up better than a mean does.
BEFORE, AFTER = 'This sentence : "', '" means in one word:"'


class VllmVision:
    """A `encoder.VisionEncoder`: the states at a picture's positions, the text's left out.

    The picture is shown first in the model's own chat. With causal attention nothing but the template's
    words before it enters its states. Raises UserError where the model takes no pictures.
    """

    def __init__(self, settings: VisionEncoderSettings) -> None:
        self._settings = settings
        self._checkpoint = open_checkpoint(settings.model, settings.revision, EXAMPLE)
        config = _read_config(self._checkpoint, settings)
        self._placeholder = _placeholder(config, self._checkpoint)
        self._precision = _precision(settings)
        self._states = HiddenStates(settings, self._checkpoint, self._precision, VISION_SECTION, True)
        self.dim = _width(config)
        self.geometry = Geometry(settings.size, settings.mode, settings.grid, settings.grid, class_tokens=0)

    @property
    def batch_size(self) -> int:
        return self._settings.batch_size

    def identity(self) -> Mapping[str, Any]:
        """See `TransformersVision.identity`; vLLM's version is left out for the same reason."""
        return {
            **_identity("vllm-vision", self._checkpoint, self._settings, self._precision),
            "processor": self._settings.vllm.processor,
            "geometry": self.geometry.to_json(),
        }

    def encode(self, frames: NDArray[np.uint8]) -> Floats:
        """[B, size, size, 3] uint8 -> [B, T, D] float32.

        Raises UserError where the model makes another number of tokens of a frame than the grid says.
        """
        assert frames.shape[1:] == (self.geometry.size, self.geometry.size, 3), frames.shape
        tokens = np.empty((len(frames), self.geometry.tokens, self.dim), np.float32)
        if len(frames):
            pictures = [Image.fromarray(frame) for frame in frames]
            for row, states in zip(tokens, self._states.of_pictures(pictures), strict=True):
                row[:] = self._of_picture(states)
        return tokens

    def close(self) -> None:
        self._states.close()

    def _of_picture(self, states: States) -> Floats:
        found: Floats = states.hidden[states.ids == self._placeholder]
        if len(found) == self.geometry.tokens:
            return found
        side, grid = round(len(found) ** 0.5), self.geometry.rows
        mend = f"set {VISION_SECTION}.grid to {side}, or another size"
        if not found.size or side * side != len(found):
            mend = (
                "no grid has as many: have the picture processed whole, such as by do_image_splitting: false "
                f"in {VISION_SECTION}.vllm.processor, or choose another model"
            )
        raise UserError(
            f"{self._checkpoint.model} gives {len(found)} tokens for a picture in a frame of "
            f"{self.geometry.size} pixels, and {VISION_SECTION}.grid {grid} asks for {grid * grid} of every "
            f"picture; {mend}"
        )


class VllmText:
    """A `encoder.TextEncoder`: the states of a text's own tokens, and one that sums it up.

    A text stands between `BEFORE` and `AFTER`. Its tokens are the states at its own positions, which see
    `BEFORE` and the text so far; its pooled vector is the last state, of length 1.
    """

    edges = (0, 0)

    def __init__(self, settings: TextEncoderSettings) -> None:
        self._settings = settings
        self._checkpoint = open_checkpoint(settings.model, settings.revision, EXAMPLE)
        config = _read_config(self._checkpoint, settings)
        with quiet():
            self._tokenizer = open_tokenizer(self._checkpoint, settings.vllm.trust_remote_code)
        self._precision = _precision(settings)
        self._states = HiddenStates(settings, self._checkpoint, self._precision, TEXT_SECTION, False)
        self._before, self._after = _opening(self._tokenizer), self._ids([AFTER])[0]
        self.dim = self.pooled_dim = _width(config)
        self.max_tokens = self._limit()

    @property
    def batch_size(self) -> int:
        return self._settings.batch_size

    def identity(self) -> Mapping[str, Any]:
        return {
            **_identity("vllm-text", self._checkpoint, self._settings, self._precision),
            "prompt": [BEFORE, AFTER],
            "max_tokens": self.max_tokens,
        }

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return np.array([len(ids) for ids in self._ids(texts)], np.int64)

    def encode(self, texts: Sequence[str]) -> TextTokens:
        """Any number of texts; one without any token gets a zero pooled vector."""
        whole = self._ids(texts)
        kept = [ids[: self.max_tokens] for ids in whole]
        lengths = np.array([len(ids) for ids in kept], np.int64)
        cut = np.array([len(ids) for ids in whole], np.int64) - lengths
        tokens = np.zeros((len(texts), int(lengths.max(initial=0)), self.dim), np.float32)
        pooled = np.zeros((len(texts), self.pooled_dim), np.float32)
        prompts = [[*self._before, *ids, *self._after] for ids in kept]
        found = self._states.of_tokens(prompts) if prompts else []
        start = len(self._before)
        for row, (states, length) in enumerate(zip(found, lengths, strict=True)):
            tokens[row, :length] = states.hidden[start : start + length]
            if length:
                pooled[row] = states.hidden[-1] / max(float(np.linalg.norm(states.hidden[-1])), 1e-12)
        return TextTokens(tokens, lengths, pooled, cut, np.ones_like(cut))

    def close(self) -> None:
        self._states.close()

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [list(ids) for ids in found]

    def _limit(self) -> int:
        wanted, around = self._settings.max_tokens or MAX_TOKENS, len(self._before) + len(self._after)
        room = self._settings.vllm.max_model_len
        if wanted + around > room:
            raise UserError(
                f"{TEXT_SECTION}.max_tokens {wanted} and the {around} tokens around every text are more than "
                f"{TEXT_SECTION}.vllm.max_model_len {room}; lower the first or raise the second"
            )
        return wanted


def _opening(tokenizer: Any) -> list[int]:
    """Ids of `BEFORE`, with what the tokenizer puts before every text and without what it puts after it."""
    found = tokenizer(BEFORE, return_special_tokens_mask=True, verbose=False)
    ids, special = list(found["input_ids"]), list(found["special_tokens_mask"])
    while special and special[-1]:
        ids.pop()
        special.pop()
    return ids


def _identity(
    encoder: str, checkpoint: Checkpoint, settings: EncoderSettings, precision: NumberFormat
) -> dict[str, Any]:
    own_code = sorted(path.name for path in checkpoint.folder.glob("*.py")) if not checkpoint.revision else []
    return {
        "encoder": encoder,
        "algorithm": ALGORITHM,
        **checkpoint.identity(checkpoint.tensor_files, (*DECIDING, *own_code)),
        "precision": precision,
        **({"extra": settings.vllm.extra} if settings.vllm.extra else {}),
    }


def _precision(settings: EncoderSettings) -> NumberFormat:
    return resolve_precision(settings.precision, resolve_device("auto"))


def _read_config(checkpoint: Checkpoint, settings: EncoderSettings) -> Any:
    """The model's configuration with the defaults of its class, which config.json may leave out."""
    from transformers import AutoConfig

    checkpoint.read_config()  # says in plain words what is wrong with config.json
    own_code = settings.vllm.trust_remote_code
    try:
        with quiet():
            return AutoConfig.from_pretrained(**checkpoint.source(own_code), trust_remote_code=own_code)
    except Exception as reason:  # the classes of configurations raise whatever they like
        raise UserError(
            f"config.json of {checkpoint.model} cannot be read ({first_line(reason)}); download the model "
            "again, and set vllm.trust_remote_code: true if it comes with its own code"
        ) from reason


def _width(config: Any) -> int:
    return int(config.get_text_config().hidden_size)


def _placeholder(config: Any, checkpoint: Checkpoint) -> int:
    """The token that stands for a piece of a picture in a prompt."""
    for name in ("image_token_id", "image_token_index"):
        token = getattr(config, name, None)
        if token is not None:
            return int(token)
    raise UserError(
        f"{checkpoint.model} ({architecture(checkpoint.read_config())}) has no image_token_id in its "
        "config.json, so it takes no pictures, or does not say where in a prompt they are; choose a "
        f"multimodal model such as {EXAMPLE} as {VISION_SECTION}.model, or for a vision tower alone source "
        "transformers"
    )
