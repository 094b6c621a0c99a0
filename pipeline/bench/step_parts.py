"""What the parts of a training step take, by hooks on a `Stepper` that is otherwise left as it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stages.student.objective.objective import Objective
from stages.student.reading.batch import Batch
from stages.student.training.precision import waiter
from stages.student.training.step import Stepper

FORWARD, BACKWARD, OPTIMIZER = "rest of forward, losses", "backward, clipping", "optimizer"


def forward_parts(objective: Objective) -> dict[str, list[nn.Module]]:
    """The modules in which a forward pass spends most; none of them is called by another."""
    student = objective.student
    parts: dict[str, list[nn.Module]] = {
        "vision tokens in": [student.input, student.input_dropout],
        "roles decoded": [student.memory_norm, student.decoder],
        "heads": [student.noun_head, student.noun_cosine, student.box_head, student.exists_head],
    }
    if objective.alignment is not None:
        parts["alignment"] = [objective.alignment]
    return parts


class StepParts:
    """Seconds of each part, one number per step that was taken while `watching`."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._wait = waiter(stepper.device)
        self._parts = forward_parts(stepper.objective)
        self._steps: list[dict[str, float]] = []
        self._begun: dict[int, float] = {}
        self._forward_end = 0.0
        self._optimizer_start = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes every step of the block. On a GPU each part is waited for."""
        objective, optimizer = self._stepper.objective, self._stepper.optimizer
        hooks: list[Any] = []
        for name, modules in self._parts.items():
            for module in modules:
                hooks.append(module.register_forward_pre_hook(self._begin))
                hooks.append(module.register_forward_hook(lambda m, *_, name=name: self._add(name, m)))
        hooks.append(objective.register_forward_pre_hook(self._begin_step))
        hooks.append(objective.register_forward_hook(self._end_forward))
        hooks.append(optimizer.register_step_pre_hook(lambda *_: self._end_backward()))
        hooks.append(optimizer.register_step_post_hook(lambda *_: self._end_step()))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def seconds(self) -> Mapping[str, float]:
        """The median of each part over the steps."""
        return {name: median(step[name] for step in self._steps) for name in self._steps[0]}

    def _now(self) -> float:
        self._wait()
        return time.perf_counter()

    def _begin(self, module: nn.Module, *_: object) -> None:
        self._begun[id(module)] = self._now()

    def _add(self, name: str, module: nn.Module) -> None:
        self._steps[-1][name] += self._now() - self._begun[id(module)]

    def _begin_step(self, module: nn.Module, *_: object) -> None:
        self._steps.append(dict.fromkeys(self._parts, 0.0))
        self._begin(module)

    def _end_forward(self, module: nn.Module, *_: object) -> None:
        self._forward_end = self._now()
        step = self._steps[-1]
        step[FORWARD] = self._forward_end - self._begun[id(module)] - sum(step.values())

    def _end_backward(self) -> None:
        self._optimizer_start = self._now()
        self._steps[-1][BACKWARD] = self._optimizer_start - self._forward_end

    def _end_step(self) -> None:
        self._steps[-1][OPTIMIZER] = self._now() - self._optimizer_start


def counted_flops(stepper: Stepper, batch: Batch) -> int:
    """Floating point operations of the matrix products of one step, forward and backward, by torch's count.

    Recomputed and left out products count as they are done, not as a textbook would have them.
    """
    with FlopCounterMode(display=False) as counter:
        stepper.step(batch)
    return int(counter.get_total_flops())
