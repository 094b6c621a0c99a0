"""The text half of pretrained models: CLIP, SigLIP, and BERT-like sentence encoders.

Axes: B texts, L tokens, D width of a token, E width of a pooled vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from stages.teacher.encoders.hf_checkpoint import Checkpoint
from stages.teacher.encoders.hf_device import NumberFormat, torch_dtype
from stages.teacher.encoders.hf_hub import first_line
from stages.teacher.encoders.hf_load import build_config, load_tower, require_all, tensors_under, tower_prefix

if TYPE_CHECKING:
    from torch import Tensor, nn

# The one tensor that the text tower of CLIP and SigLIP has and their vision tower does not.
_ANCHOR = "embeddings.token_embedding.weight"
_PROJECTION = "text_projection.weight"
# These number positions from the padding token's id + 1 (RobertaEmbeddings), so that many of the
# max_position_embeddings are no tokens.
_POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "roberta-prelayernorm", "xmod"}


class TextTower(ABC):
    """One loaded-on-demand text model.

    limit         longest text the position embeddings allow, special tokens included; None = no bound known
    fixed_length  the model was trained on texts padded to `limit`, padding attended to
    pooling       how a text becomes one vector, by name; enters the identity
    """

    dim: int
    pooled_dim: int
    vocabulary: int
    limit: int | None
    fixed_length: bool = False
    pooling: str

    @abstractmethod
    def tensors(self) -> list[str]:
        """Names of the checkpoint's tensors that the tower uses."""

    @abstractmethod
    def load(self, device: str, precision: NumberFormat) -> None: ...

    @abstractmethod
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """ids [B, L] long and mask [B, L] long -> tokens [B, L, D] and pooled [B, E], not normalised."""


class ClipText(TextTower):
    """CLIP's causal text tower; pooled = the end token's state, projected where it has a projection."""

    def __init__(self, checkpoint: Checkpoint, raw: dict[str, Any]) -> None:
        self._checkpoint = checkpoint
        self._config = build_config(checkpoint, "CLIPTextConfig", dict(raw.get("text_config", raw)))
        self.dim = self._config.hidden_size
        self.vocabulary = self._config.vocab_size
        self.limit = self._config.max_position_embeddings
        self._projected = raw["model_type"] == "clip" or any(
            "WithProjection" in name for name in raw.get("architectures") or ()
        )
        # The text_config of a whole model may carry the class's default in place of its own projection_dim.
        projection = raw.get("projection_dim", self._config.projection_dim)
        self.pooled_dim = projection if self._projected else self.dim
        self.pooling = "end token, projected" if self._projected else "end token"
        self._model: nn.Module
        self._projection: Tensor

    def tensors(self) -> list[str]:
        return [*tensors_under(self._checkpoint, self._prefix()), *([_PROJECTION] if self._projected else [])]

    def load(self, device: str, precision: NumberFormat) -> None:
        model = load_tower(self._checkpoint, "CLIPTextModel", self._config, self._prefix(), precision)
        self._model = model.to(device)
        if not self._projected:
            return
        if _PROJECTION not in self._checkpoint.tensor_files():
            require_all(self._checkpoint, {_PROJECTION})
        projection = self._checkpoint.load([_PROJECTION])[_PROJECTION]
        if projection.shape != (self.pooled_dim, self.dim):
            raise UserError(
                f"{_PROJECTION} of {self._checkpoint.model} is {list(projection.shape)}, but its config.json "
                f"promises {[self.pooled_dim, self.dim]}; download the model again"
            )
        self._projection = projection.to(device, torch_dtype(precision))

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        output = self._model(input_ids=ids, attention_mask=mask)
        pooled = output.pooler_output
        return output.last_hidden_state, pooled @ self._projection.T if self._projected else pooled

    def _prefix(self) -> str:
        return tower_prefix(self._checkpoint, _ANCHOR, "text tower")


class SiglipText(TextTower):
    """SigLIP's text tower; pooled = its head over the last position, which is padding in most texts."""

    fixed_length = True
    pooling = "last position, head"

    def __init__(self, checkpoint: Checkpoint, raw: dict[str, Any]) -> None:
        self._checkpoint = checkpoint
        self._config = build_config(checkpoint, "SiglipTextConfig", dict(raw.get("text_config", raw)))
        self.dim = self._config.hidden_size
        self.pooled_dim = self._config.projection_size
        self.vocabulary = self._config.vocab_size
        self.limit = self._config.max_position_embeddings
        self._model: nn.Module

    def tensors(self) -> list[str]:
        return tensors_under(self._checkpoint, self._prefix())

    def load(self, device: str, precision: NumberFormat) -> None:
        model = load_tower(self._checkpoint, "SiglipTextModel", self._config, self._prefix(), precision)
        self._model = model.to(device)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        output = self._model(input_ids=ids)  # no mask: the model was trained without one
        return output.last_hidden_state, output.pooler_output

    def _prefix(self) -> str:
        return tower_prefix(self._checkpoint, _ANCHOR, "text tower")


class BertText(TextTower):
    """Any encoder that `AutoModel` knows; pooled = the mean over a text's tokens, or its first token."""

    def __init__(self, checkpoint: Checkpoint, raw: dict[str, Any], trust_remote_code: bool) -> None:
        self._checkpoint, self._trust = checkpoint, trust_remote_code
        _refuse_other_kinds(checkpoint, raw)
        config = self._auto("AutoConfig")
        if not (hasattr(config, "hidden_size") and hasattr(config, "vocab_size")):
            raise UserError(
                f"{checkpoint.model} ({raw['model_type']!r}) has no vocabulary, so it reads no text; "
                "give a CLIP, SigLIP or BERT-like text encoder"
            )
        self.dim = self.pooled_dim = config.hidden_size
        self.vocabulary = config.vocab_size
        self.limit = getattr(config, "max_position_embeddings", None)
        if self.limit is not None and config.model_type in _POSITIONS_AFTER_PADDING:
            self.limit -= config.pad_token_id + 1
        self.pooling = _sentence_pooling(checkpoint)
        self._model: nn.Module

    def tensors(self) -> list[str]:
        return list(self._checkpoint.tensor_files())

    def load(self, device: str, precision: NumberFormat) -> None:
        self._checkpoint.fetch_weights()
        options = {"dtype": torch_dtype(precision), "use_safetensors": True, "output_loading_info": True}
        model, info = self._auto("AutoModel", **options)
        # The pooler is a head of the pre-training task; what is pooled here are the last hidden states.
        require_all(self._checkpoint, {name for name in info["missing_keys"] if "pooler" not in name})
        self._model = model.eval().to(device)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "first token":
            return hidden, hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return hidden, (hidden * weights).sum(1) / weights.sum(1)

    def _auto(self, name: str, **options: Any) -> Any:
        import transformers

        try:
            return getattr(transformers, name).from_pretrained(
                **self._checkpoint.source(self._trust),
                trust_remote_code=self._trust,
                **options,
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as reason:
            raise UserError(
                f"{self._checkpoint.model} cannot be loaded as a text encoder ({first_line(reason)}); known "
                "are CLIP, SigLIP and the BERT-like encoders of the installed transformers; a model with its "
                "own code needs trust_remote_code: true, which lets that code run here"
            ) from reason


def open_tower(checkpoint: Checkpoint, trust_remote_code: bool) -> TextTower:
    raw = checkpoint.read_config()
    if raw["model_type"] in ("clip", "clip_text_model"):
        return ClipText(checkpoint, raw)
    if raw["model_type"] in ("siglip", "siglip_text_model"):
        return SiglipText(checkpoint, raw)
    return BertText(checkpoint, raw, trust_remote_code)


def _refuse_other_kinds(checkpoint: Checkpoint, raw: dict[str, Any]) -> None:
    kind = None
    if raw.get("is_encoder_decoder"):
        kind = "an encoder-decoder"
    elif "vision_config" in raw or raw["model_type"].endswith("_vision_model"):
        kind = "a vision model"
    if kind:
        raise UserError(
            f"{checkpoint.model} ({raw['model_type']!r}) is {kind}, which makes no text tokens here; "
            "give a CLIP, SigLIP or BERT-like text encoder"
        )


def _sentence_pooling(checkpoint: Checkpoint) -> str:
    """How a sentence encoder was trained to pool, by its own files (sentence-transformers' layout)."""
    modules = checkpoint.find_optional("modules.json")
    if modules is not None and ".Dense" in modules.read_text("utf-8"):
        raise UserError(
            f"{checkpoint.model} ends in a Dense module, which is not applied here, so its vectors would not "
            "be the ones it was trained for; give a sentence encoder without one"
        )
    fields = checkpoint.read_json("1_Pooling/config.json")
    if fields is None:
        return "mean"
    chosen = {
        name.removeprefix("pooling_mode_")
        for name, on in fields.items()
        if on is True and name.startswith("pooling_mode_")
    }
    chosen |= {str(fields["pooling_mode"])} if "pooling_mode" in fields else set()
    names = {"mean_tokens": "mean", "mean": "mean", "cls_token": "first token", "cls": "first token"}
    if len(chosen) == 1 and chosen <= set(names):
        return names[chosen.pop()]
    raise UserError(
        f"{checkpoint.model} pools by {', '.join(sorted(chosen)) or 'nothing'} (1_Pooling/config.json); "
        "mean and cls can be computed here: give another sentence encoder"
    )
