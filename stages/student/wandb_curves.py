"""Curves of a training run, for Weights & Biases."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from cache.atomic import write_bytes
from cache.errors import UserError

_ID = "wandb-id.txt"


class WandbCurves:
    """A run of a project; a resumed training goes on in the same one, whose name is kept in `folder`.

    obeyed  the settings that the run obeys, shown beside the curves

    Raises UserError where `wandb` is not installed.
    """

    def __init__(self, project: str, folder: Path, obeyed: Mapping[str, Any]) -> None:
        try:
            wandb: Any = import_module("wandb")
        except ImportError as reason:
            raise UserError(
                f"train.wandb names project {project!r}, but wandb cannot be loaded ({reason}); install it "
                "with `pip install wandb`, or set train.wandb to ''"
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / _ID
        if not file.exists():
            write_bytes(file, secrets.token_hex(8).encode())
        self._run = wandb.init(
            project=project, id=file.read_text(), resume="allow", dir=str(folder), config=dict(obeyed)
        )

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Figures by name at a step."""
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()
