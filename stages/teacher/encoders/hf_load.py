"""Part of a checkpoint into a model of transformers: one tower with its own weights, and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from stages.teacher.encoders.hf_checkpoint import Checkpoint
from stages.teacher.encoders.hf_device import NumberFormat, torch_dtype
from stages.teacher.encoders.hf_hub import first_line

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig


def release() -> str:
    """The first number of transformers' version."""
    import transformers

    return str(transformers.__version__).partition(".")[0]


def tower_prefix(checkpoint: Checkpoint, anchor: str, what: str) -> str:
    """What stands before a tower's own tensor names: "" in a lone tower, "vision_model." in a whole model.

    Found by a tensor that only this tower has, because the prefix differs between families and between the
    versions of transformers that wrote the checkpoint.
    """
    prefixes = sorted(
        name.removesuffix(anchor) for name in checkpoint.tensor_files() if name.endswith(anchor)
    )
    if len(prefixes) != 1:
        raise UserError(
            f"{checkpoint.model} has {len(prefixes)} tensors named ...{anchor}, where the {what} has exactly "
            f"one; give the model whose {what} is wanted"
        )
    return prefixes[0]


def tensors_under(checkpoint: Checkpoint, prefix: str) -> list[str]:
    return [name for name in checkpoint.tensor_files() if name.startswith(prefix)]


def build_config(checkpoint: Checkpoint, name: str, fields: dict[str, Any]) -> PretrainedConfig:
    """Configuration class `name` of transformers; what `fields` lack takes the class's defaults."""
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    try:
        config: PretrainedConfig = getattr(transformers, name)(**fields)
    except (StrictDataclassError, TypeError, ValueError) as reason:
        raise UserError(
            f"config.json of {checkpoint.model} is not a valid {name} ({reason}); download the model again"
        ) from None
    return config


def load_tower(
    checkpoint: Checkpoint, name: str, config: PretrainedConfig, prefix: str, precision: NumberFormat
) -> nn.Module:
    """Builds class `name` of transformers with the tensors under `prefix`; no other tensor is read.

    name  with its module in front where the package does not export it
    `from_pretrained` on a whole checkpoint would fetch and open every shard of it.
    Raises UserError where the weights do not fill the model exactly.
    """
    module, _, class_name = name.rpartition(".")
    model_class = getattr(import_module(module or "transformers"), class_name)
    tensors = checkpoint.load(tensors_under(checkpoint, prefix))
    state = {tensor.removeprefix(prefix): value for tensor, value in tensors.items()}
    try:
        model, info = model_class.from_pretrained(
            None, config=config, state_dict=state, dtype=torch_dtype(precision), output_loading_info=True
        )
    except RuntimeError as reason:
        raise UserError(
            f"the weights of {checkpoint.model} do not have the shapes its config.json promises "
            f"({first_line(reason)}); download the model again"
        ) from None
    require_all(checkpoint, info["missing_keys"])
    loaded: nn.Module = model.eval()
    return loaded


def require_all(checkpoint: Checkpoint, missing: set[str]) -> None:
    """Refuses a model that would run on random numbers where its weights are missing."""
    if missing:
        raise UserError(
            f"{checkpoint.model} lacks {len(missing)} of its own tensors (for example {min(missing)}); "
            "the checkpoint is of another kind than its config.json says, or incomplete: download it again"
        )
