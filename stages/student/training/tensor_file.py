"""Tensors with facts about them in one safetensors file: nothing is pickled, a file is whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cache.atomic import replacing
from cache.errors import UserError

FORMAT = 2


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes tensors and JSON facts all at once. A full disk is raised as MachineError."""
    document = json.dumps({"format": FORMAT, **facts}, ensure_ascii=False)
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # by the user's umask; safetensors lets the owner alone read
        save_file(own, temporary, metadata={"mipd": document})
        temporary.chmod(mode)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_tensors` wrote. Raises UserError where the file is missing, damaged or newer."""
    facts = load_facts(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as reason:
        raise _damaged(path, reason) from None


def load_facts(path: Path) -> dict[str, Any]:
    """The facts alone, without reading a tensor."""
    if not path.exists():
        raise UserError(f"no checkpoint {path}; make one with `mipd-pipe train-student`")
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["mipd"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as reason:
        raise _damaged(path, reason) from None
    if facts.get("format") != FORMAT:
        raise UserError(
            f"{path} has checkpoint format {facts.get('format')!r}; this version reads format {FORMAT}: "
            "use the version of mipd-pipe that wrote it, or train again with `mipd-pipe train-student --set "
            "run_dir=ANOTHER --set store_dir=THIS_STORE`, for the store is still good"
        )
    return facts


def _damaged(path: Path, reason: Exception) -> UserError:
    return UserError(
        f"{path} cannot be read ({reason}); it is cut off or no checkpoint of mipd-pipe: "
        "a damaged state file may be deleted, `mipd-pipe train-student` then goes on from the one before it"
    )
