"""Curves of a training run, for TensorBoard and whoever else is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.student.objective.objective import Loss
from stages.student.wandb_curves import WandbCurves

STEPS_AT_ONCE = 50  # a GPU that is asked for a number waits for the step that computes it


class TrainingLog:
    """Steps that a killed run wrote beyond its last state are dropped."""

    def __init__(self, folder: Path, step: int, curves: WandbCurves | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)
        self._curves = curves
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
        self._write({"epoch": epoch} | ({} if figure is None else {"dev/selected": figure}), step)

    def close(self) -> None:
        self._write_steps()
        self._writer.close()
        if self._curves:
            self._curves.close()

    def _write_steps(self) -> None:
        if self._kept:
            for step, values in zip(self._steps, torch.stack(self._kept).tolist(), strict=True):
                named = zip(self._names, values, strict=True)
                self._write({f"loss/{name}": value for name, value in named}, step)
        self._steps, self._kept = [], []

    def _write(self, figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        if self._curves:
            self._curves.add(figures, step)
