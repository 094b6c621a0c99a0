"""Frozen text encoders of pretrained models: CLIP, SigLIP, BERT-like.

Axes: B texts, L tokens, D width of a token, E width of a pooled vector. CLIP-L: L up to 77, D = E = 768.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from stages.teacher.encoders.device_batches import DeviceBatches
from stages.teacher.encoders.encoder import Floats, TextTokens
from stages.teacher.encoders.encoder_settings import TextEncoderSettings
from stages.teacher.encoders.hf_checkpoint import Checkpoint, open_checkpoint
from stages.teacher.encoders.hf_device import (
    free_memory,
    loading_guard,
    quiet,
    resolve_device,
    resolve_precision,
)
from stages.teacher.encoders.hf_load import release
from stages.teacher.encoders.hf_text_tower import TextTower, open_tower
from stages.teacher.encoders.hf_tokenizer import TOKENIZER_EXTRAS, TOKENIZER_FILES, open_tokenizer

# Raise it when a change here changes the vectors of the same text.
ALGORITHM = 1
_NO_LIMIT = 10**6  # transformers writes 1e30 for a tokenizer without a limit


class TransformersText:
    """A `stages.teacher.encoders.encoder.TextEncoder` over a text model from transformers.

    Reads configuration and tokenizer at once and the weights at the first `encode`.
    Raises UserError where the model is missing, incomplete, has no tokenizer, or is no text encoder.

    say  told where the device has no room for a batch
    """

    def __init__(self, settings: TextEncoderSettings, say: Callable[[str], None] | None = None) -> None:
        self._batches = DeviceBatches(settings.batch_size, say)
        self._trust = settings.trust_remote_code
        self._checkpoint = open_checkpoint(settings.model, settings.revision)
        with quiet():
            self._tower = open_tower(self._checkpoint, self._trust)
            self._tokenizer = open_tokenizer(self._checkpoint, self._trust)
        self._device = resolve_device(settings.device)
        self._precision = resolve_precision(settings.precision, self._device)
        self._loaded = False
        self.dim = self._tower.dim
        self.pooled_dim = self._tower.pooled_dim
        self.max_tokens = _limit(settings, self._checkpoint, self._tower, self._tokenizer)
        self.edges = _edges(self._tokenizer)

    @property
    def batch_size(self) -> int:
        return self._batches.size

    def identity(self) -> Mapping[str, Any]:
        """Everything here that decides a vector; for what is left out see `TransformersVision.identity`."""
        files = [*TOKENIZER_FILES, *TOKENIZER_EXTRAS]
        if self._trust and self._checkpoint.revision is None:
            files += sorted(path.name for path in self._checkpoint.folder.glob("*.py"))
        return {
            "encoder": "transformers-text",
            "algorithm": ALGORITHM,
            "transformers": release(),
            **self._checkpoint.identity(self._tower.tensors, files),
            "pooling": self._tower.pooling,
            "max_tokens": self.max_tokens,
            "precision": self._precision,
        }

    def encode(self, texts: Sequence[str]) -> TextTokens:
        """Any number of texts, `batch_size` at a time; a text without any token gets a zero pooled vector.

        Raises MachineError where the GPU has no room for the model, or not even for one text.
        """
        kept, cut = self._tokenise(texts)
        lengths = np.array([len(ids) for ids in kept], np.int64)
        tokens = np.zeros((len(texts), int(lengths.max(initial=0)), self.dim), np.float32)
        pooled = np.zeros((len(texts), self.pooled_dim), np.float32)

        def forward(part: slice) -> None:
            longest = int(lengths[part].max())
            hidden, pooled[part] = self._forward(kept[part])
            tokens[part, :longest] = hidden[:, :longest]

        if texts:
            self._load()
        self._batches.run(len(texts), forward)
        return TextTokens(tokens, lengths, pooled, cut, np.ones_like(cut))

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return np.array([len(ids) for ids in self._whole(texts)], np.int64)

    def _whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text in full."""
        if not texts:
            return []
        found: list[list[int]] = self._tokenizer(list(texts), verbose=False)["input_ids"]  # else it warns
        return found

    def _tokenise(self, texts: Sequence[str]) -> tuple[list[list[int]], NDArray[np.int64]]:
        """Token ids within `max_tokens`, special tokens included, and how many did not fit."""
        kept = self._whole(texts)
        cut = np.array([max(0, len(ids) - self.max_tokens) for ids in kept], np.int64)
        long = np.flatnonzero(cut).tolist()
        if long:  # cut by the tokenizer, which keeps its special tokens at the end
            shorter = self._tokenizer(
                [texts[i] for i in long], truncation=True, max_length=self.max_tokens, verbose=False
            )["input_ids"]
            for i, ids in zip(long, shorter, strict=True):
                kept[i] = ids
        highest = max((max(ids, default=0) for ids in kept), default=0)
        if highest >= self._tower.vocabulary:
            raise UserError(
                f"the tokenizer of {self._checkpoint.model} gives token {highest}, but the model knows "
                f"{self._tower.vocabulary}; the tokenizer belongs to another model: download both again"
            )
        return kept, cut

    def _forward(self, kept: list[list[int]]) -> tuple[Floats, Floats]:
        """Ids of one batch -> tokens [B, L, D], zero past a text's end, and pooled [B, E] of unit length."""
        import torch

        ids, mask = (torch.tensor(part, device=self._device) for part in self._pad(kept))
        attended = mask.clone()
        attended[:, 0] = 1  # a row of nothing but masked tokens would become NaN
        with torch.inference_mode():
            hidden, pooled = self._tower.forward(ids, attended)
            hidden = hidden.float() * mask.unsqueeze(-1)
            pooled = torch.nn.functional.normalize(pooled.float(), dim=-1) * mask.any(1, keepdim=True)
        return hidden.cpu().numpy(), pooled.cpu().numpy()

    def _pad(self, kept: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and mask [B, L], padded on the right whatever the tokenizer's own side is."""
        width = max(1, *map(len, kept)) if not self._tower.fixed_length else self._tower.limit or 0
        padding = self._tokenizer.pad_token_id
        ids = np.full((len(kept), width), 0 if padding is None else padding, np.int64)
        mask = np.zeros((len(kept), width), np.int64)
        for row, text in enumerate(kept):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        return ids, mask

    def _load(self) -> None:
        if not self._loaded:
            with quiet(), loading_guard(self._checkpoint.model):
                self._tower.load(self._device, self._precision)
            self._loaded = True

    def close(self) -> None:
        if self._loaded:
            with quiet():
                self._tower = open_tower(self._checkpoint, self._trust)
            self._loaded = False
            free_memory()


def _edges(tokenizer: Any) -> tuple[int, int]:
    """How many special tokens stand before and after the words of a text."""
    special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    words = [i for i, is_special in enumerate(special) if not is_special]
    return (words[0], len(special) - 1 - words[-1]) if words else (0, len(special))


def _limit(settings: TextEncoderSettings, checkpoint: Checkpoint, tower: TextTower, tokenizer: Any) -> int:
    """Longest text in tokens, special tokens included: the user's bound within the model's."""
    sentences = checkpoint.read_json("sentence_bert_config.json") or {}
    bounds = (tower.limit, tokenizer.model_max_length, sentences.get("max_seq_length"))
    limit = min((int(bound) for bound in bounds if bound is not None and bound < _NO_LIMIT), default=0)
    if not limit and not settings.max_tokens:
        raise UserError(f"{settings.model} names no longest text; set max_tokens, for example to 512")
    if limit and settings.max_tokens > limit:
        raise UserError(
            f"max_tokens {settings.max_tokens} is more than {settings.model} can read: {limit}; lower it"
        )
    chosen = settings.max_tokens or limit
    special = int(tokenizer.num_special_tokens_to_add())
    if chosen <= special:
        raise UserError(
            f"max_tokens {chosen} leaves no room for text beside the {special} special tokens of "
            f"{settings.model}; set at least {special + 1}"
        )
    return chosen
