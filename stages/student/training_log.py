"""Curves of a training run, for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.student.objective import Loss

STEPS_AT_ONCE = 50  # a GPU that is asked for a number waits for the step that computes it


class TrainingLog:
    """Steps that a killed run wrote beyond its last state are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)
        self._steps: list[int] = []
        self._names: list[str] = []
        self._kept: list[Tensor] = []

    def step(self, loss: Loss, step: int) -> None:
        """Notes a step's terms without waiting for them; they are written some steps later."""
        self._names = ["total", *loss.terms]
        self._kept.append(torch.stack([loss.total.detach(), *loss.terms.values()]).float())
        self._steps.append(step)
        if len(self._steps) >= STEPS_AT_ONCE:
            self._write_steps()

    def epoch(self, epoch: int, step: int, figure: float | None) -> None:
        self._write_steps()
        self._writer.add_scalar("epoch", epoch, step)
        if figure is not None:
            self._writer.add_scalar("dev/selected", figure, step)

    def close(self) -> None:
        self._write_steps()
        self._writer.close()

    def _write_steps(self) -> None:
        if self._kept:
            for step, values in zip(self._steps, torch.stack(self._kept).tolist(), strict=True):
                for name, value in zip(self._names, values, strict=True):
                    self._writer.add_scalar(f"loss/{name}", value, step)
        self._steps, self._kept = [], []
