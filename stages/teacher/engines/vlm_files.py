"""What a multimodal chat model needs beside its weights, checked before minutes go into loading it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cache.errors import UserError
from stages.teacher.encoders.hf_checkpoint import Checkpoint

TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json", "tokenizer_config.json")
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
CHAT_TEMPLATE = ("chat_template.jinja", "chat_template.json")
# All of them may decide what a model answers; weights and config.json are in the identity anyway.
DECIDING = (
    *TOKENIZER,
    *PROCESSOR,
    *CHAT_TEMPLATE,
    "added_tokens.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
)


def weights_identity(checkpoint: Checkpoint) -> Mapping[str, str]:
    """`model` and `revision`: the id and commit of a hub model; of a folder its architecture and contents."""
    if checkpoint.revision is not None:
        return checkpoint.identity(checkpoint.tensor_files)
    own_code = sorted(path.name for path in checkpoint.folder.glob("*.py"))
    identity = checkpoint.identity(checkpoint.tensor_files, (*DECIDING, *own_code))
    # The folder's name stays out: a model that was moved is the same model.
    return {"model": architecture(checkpoint.read_config()), "revision": identity["revision"]}


def architecture(config: Mapping[str, Any]) -> str:
    """The model class that config.json names; its model_type where it names none."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else str(config["model_type"])


def check_files(checkpoint: Checkpoint, has_own_template: bool, setting: str = "teacher.vllm.model") -> None:
    """Raises UserError for a model without tokenizer, picture processor or chat template.

    has_own_template  the engine knows a chat template for this kind of model
    setting           dotted path that names the model, for messages
    """
    model = checkpoint.model
    if not _has_any(checkpoint, TOKENIZER):
        raise UserError(
            f"model {model} has no tokenizer (none of {', '.join(TOKENIZER)}); "
            "copy the tokenizer's files beside config.json, or download the model again"
        )
    if not _has_any(checkpoint, PROCESSOR):
        raise UserError(
            f"model {model} has no picture processor (neither {' nor '.join(PROCESSOR)}), so it reads text "
            f"alone; choose a multimodal model as {setting}"
        )
    if not has_own_template and not _has_chat_template(checkpoint):
        raise UserError(
            f"model {model} has no chat template (no {' or '.join(CHAT_TEMPLATE)}, no chat_template in "
            "tokenizer_config.json or processor_config.json), so it was not tuned to follow instructions; "
            "choose its -Instruct or -Chat version, or put its template beside config.json"
        )


def _has_any(checkpoint: Checkpoint, names: tuple[str, ...]) -> bool:
    return any(checkpoint.find_optional(name) is not None for name in names)


def _has_chat_template(checkpoint: Checkpoint) -> bool:
    if _has_any(checkpoint, CHAT_TEMPLATE):
        return True
    configs = (checkpoint.read_json(name) for name in ("tokenizer_config.json", "processor_config.json"))
    return any(config is not None and config.get("chat_template") for config in configs)
