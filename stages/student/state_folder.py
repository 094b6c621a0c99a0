"""The states of a training run in its folder: the newest few, each enough to go on from exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from cache.atomic import TEMPORARY
from cache.errors import UserError
from stages.settings import changed_settings
from stages.student.objective.objective import Objective
from stages.student.training.average import WeightAverage
from stages.student.training.checkpoint import BEST, Position, load_state, save_state
from stages.student.training.precision import Precision
from stages.student.training.tensor_file import load_facts


@dataclass(frozen=True, slots=True)
class StateFolder:
    """keep: how many of the newest states stay."""

    folder: Path
    keep: int

    @property
    def files(self) -> list[Path]:
        """The oldest first."""
        return sorted(self.folder.glob("state-*.safetensors"))

    def begun_in(self) -> Precision | None:
        """The number format that the run began with; None where there is no run."""
        if not self.files:
            return None
        begun: Precision = load_facts(self.files[-1])["obeyed"]["train"].get("precision", "fp32")
        return begun

    def remove_leftovers(self) -> None:
        """What a run that was killed while it wrote left half written."""
        for leftover in self.folder.glob(f"*{TEMPORARY}*"):
            leftover.unlink()

    def load(
        self,
        obeyed: Mapping[str, Any],
        epochs: int,
        objective: Objective,
        optimizer: Optimizer,
        average: WeightAverage | None,
    ) -> Position | None:
        """Puts the newest state back; None where there is none.

        obeyed  all that a step depends on
        epochs  that are to be trained in all

        Raises UserError where the state is of another run's settings or data, or the best checkpoint is gone.
        """
        if not self.files:
            return None
        self._require_same(load_facts(self.files[-1])["obeyed"], obeyed)
        position = load_state(self.files[-1], objective, optimizer, average)
        if position.epoch and not (self.folder / BEST).exists():
            raise UserError(
                f"{self.folder / BEST} is missing, but {position.epoch} epochs are done and none of those "
                f"left need be better; put the file back, or move {self.folder} away to train from the start"
            )
        if position.epoch > epochs:
            raise UserError(
                f"{self.folder} has trained {position.epoch} epochs, train.epochs asks for "
                f"{epochs}: its figures would not be those of so few; set train.epochs "
                "back, or train elsewhere: --set run_dir=ANOTHER --set store_dir=THIS_STORE"
            )
        return position

    def _require_same(self, before: Mapping[str, Any], obeyed: Mapping[str, Any]) -> None:
        changed = changed_settings(before, obeyed)
        if changed:
            listed = "\n".join(f"  {line}" for line in changed)
            raise UserError(
                f"{self.folder} holds a training run with other settings or data, so going on would not be "
                f"the same run:\n{listed}\nPut them back, or train elsewhere on the same store: "
                "--set run_dir=ANOTHER --set store_dir=THIS_STORE"
            )

    def save(
        self,
        objective: Objective,
        optimizer: Optimizer,
        position: Position,
        facts: Mapping[str, Any],
        average: WeightAverage | None,
    ) -> None:
        """Writes a state, all at once, and removes the oldest ones."""
        path = self.folder / f"state-{position.step:08d}.safetensors"
        save_state(path, objective, optimizer, position, facts, average)
        for old in self.files[: -self.keep]:
            old.unlink()
