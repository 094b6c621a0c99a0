"""The files of a model as they lie on this machine; the hub is never asked."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from cache.errors import UserError
from stages.teacher.encoders.hf_checkpoint import ENCODER, Checkpoint, open_checkpoint
from stages.teacher.encoders.safetensors_file import read_header


class NotFetchedError(UserError):
    """A hub model that is not on this machine; the run itself would fetch it."""


def is_folder_name(model: str) -> bool:
    """Whether a model is named by a path rather than by its id on the hub."""
    return model.startswith((".", "~", "/")) or model.count("/") > 1 or Path(model).expanduser().is_dir()


def find_model(model: str, revision: str = "", example: str = ENCODER) -> Checkpoint | None:
    """A model's folder, or that of the commit in the local model cache; None for a hub model not in it.

    Raises UserError for a folder that is not there, and for what cannot be the id of a hub model.
    """
    if is_folder_name(model):
        return open_checkpoint(model, revision, example)
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        config = try_to_load_from_cache(model, "config.json", revision=revision or "main")
    except errors.HFValidationError as reason:
        raise UserError(f"{model!r} is neither a folder nor the id of a hub model ({reason})") from None
    # As a folder: with its id, every optional file it lacks would be asked for on the hub.
    return Checkpoint(model, Path(config).parent, None) if isinstance(config, str) else None


def require_model(model: str, revision: str = "", example: str = ENCODER) -> Checkpoint:
    """A model that is on this machine. Raises UserError where it is not, without asking the hub for it:
    NotFetchedError where a run may fetch it.
    """
    checkpoint = find_model(model, revision, example)
    if checkpoint is None:
        kind = UserError if is_offline() else NotFetchedError
        raise kind(f"{model} is not in the local model cache: `hf download {model}`")
    return checkpoint


def is_offline() -> bool:
    """Whether the environment forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def count_elements(checkpoint: Checkpoint) -> Counter[str]:
    """Numbers in a checkpoint's weights by their format in the file, as ``BF16``.

    Raises UserError where weights are missing, damaged or half downloaded.
    """
    checkpoint.fetch_weights()
    elements: Counter[str] = Counter()
    for name in sorted(set(checkpoint.tensor_files().values())):
        for tensor in read_header(checkpoint.folder / name).tensors.values():
            elements[tensor["dtype"]] += math.prod(tensor["shape"])
    return elements
