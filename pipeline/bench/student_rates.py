"""How fast a student of SWiG's shapes trains and is evaluated, in rounds in which the kinds take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import Any

import numpy as np
import torch

from cache.order import permutation
from cache.paths import StorePaths
from pipeline.bench.matmul_rate import matmul_rates
from pipeline.bench.step_parts import StepParts, counted_flops
from pipeline.bench.store_rates import ratio
from pipeline.bench.swig_world import Sizes, make_labels, make_samples, training_data
from pipeline.bench.training_memory import train_settings
from pipeline.console import Console
from stages.batches import batches
from stages.data.vocabulary import Vocabulary
from stages.student.measuring.evaluate import evaluate
from stages.student.network.labels import LabelVectors
from stages.student.objective.objective import Objective
from stages.student.reading.batch import Batch
from stages.student.reading.dataset import StoreDataset
from stages.student.reading.read_ahead import read_ahead
from stages.student.settings import LossSettings
from stages.student.training.device import keep_freed_memory
from stages.student.training.precision import PRECISIONS, Precision, choose_precision, waiter
from stages.student.training.step import Stepper
from stages.student.training_data import build_objective

ROUNDS = 5

Seconds = dict[str, list[float]]


@dataclass(slots=True)
class StudentRates:
    """One student, trained in both formats and among few and many verbs, on the same pictures.

    memory      batches that lie in memory
    steppers    among the data set's verbs; `many_verbs` in bf16 among `Sizes.candidates`
    precision   that `train.precision: auto` takes here
    """

    sizes: Sizes
    vocabulary: Vocabulary
    objective: Objective
    labels: LabelVectors
    train: StoreDataset
    test: StoreDataset
    memory: list[Batch]
    steppers: dict[Precision, Stepper]
    many_verbs: Stepper
    precision: Precision
    parts: dict[Precision, StepParts]

    @staticmethod
    def build(paths: StorePaths, sizes: Sizes, device: torch.device) -> StudentRates:
        keep_freed_memory()  # as a training run does
        data = training_data(paths, sizes)
        torch.manual_seed(0)
        objective = build_objective(data, sizes.student, LossSettings()).to(device)
        labels, many = (
            objective.student.label_vectors(texts.to(device))
            for texts in (data.labels, make_labels(sizes, sizes.candidates))
        )
        steppers = {kind: _stepper(objective, labels, sizes, kind, device) for kind in PRECISIONS}
        rows = batches(range(min(sizes.pictures, 2 * sizes.batch)), sizes.batch)
        samples = make_samples(data.vocabulary, sizes, "test")
        return StudentRates(
            sizes=sizes,
            vocabulary=data.vocabulary,
            objective=objective,
            labels=labels,
            train=data.train,
            test=StoreDataset(paths, samples, data.vocabulary, teacher=False),
            memory=[data.train.read(list(some)) for some in rows],
            steppers=steppers,
            many_verbs=_stepper(objective, many, sizes, "bf16", device),
            precision=choose_precision(device),
            parts={kind: StepParts(steppers[kind]) for kind in PRECISIONS},
        )

    def measure(self, steps: int, console: Console) -> dict[str, Any]:
        """`figures`, and what they were worked out of."""
        flops = {kind: counted_flops(self.steppers[kind], self.memory[0]) for kind in PRECISIONS}
        seconds: Seconds = {}
        rates: dict[str, list[float]] = {kind: [] for kind in PRECISIONS}
        with console.progress("measured", ROUNDS + 1, unit="round") as advance:
            for number in range(-1, ROUNDS):  # the first one, -1, warms up and does not count
                found = self._round(steps if number >= 0 else 1, number + 1)
                measured = matmul_rates(self.steppers["bf16"].device)
                for name, value in found.items():
                    seconds.setdefault(name, []).extend([value] if number >= 0 else [])
                for kind in PRECISIONS:
                    rates[kind] += [measured[kind]] if number >= 0 else []
                advance(1)
        reached = {kind: [flops[kind] / taken for taken in seconds[kind]] for kind in PRECISIONS}
        share = {kind: ratio(reached[kind], rates[kind]) for kind in PRECISIONS}
        return {
            "figures": self._figures(seconds, share["bf16"]),
            "batch": self.sizes.batch,
            "pictures": self.sizes.pictures,
            "steps": steps,
            "rounds": ROUNDS,
            "step_s": {kind: median(seconds[kind]) for kind in PRECISIONS},
            "step_parts_s": {kind: dict(self.parts[kind].seconds) for kind in PRECISIONS},
            "step_flops": flops,
            "matmul_flops_per_s": {kind: median(rates[kind]) for kind in PRECISIONS},
            "matmul_share": share,
        }

    def _figures(self, seconds: Seconds, share: float) -> dict[str, float]:
        batch = self.sizes.batch
        return {
            "train_bf16_per_s": batch / median(seconds["bf16"]),
            "train_fp32_per_s": batch / median(seconds["fp32"]),
            "eval_per_s": 1 / median(seconds["picture"]),
            "train_matmul_share": share,
            "store_vs_memory": ratio(seconds["bf16"], seconds["store"]),
            "verbs_10000_vs_504": ratio(seconds["many"], seconds["few"]),
        }

    def _round(self, steps: int, number: int) -> dict[str, float]:
        """Seconds of a step of each kind, and of an evaluated picture; every second round backwards."""
        kinds: dict[str, Callable[[], float]] = {
            "fp32": lambda: self._from_memory("fp32", steps),
            "bf16": lambda: self._from_memory("bf16", steps),
            "store": lambda: self._from_store(steps, number),
            "picture": lambda: self._timed(self._evaluate) / len(self.test),
        }
        found = {name: kinds[name]() for name in (kinds if number % 2 else reversed(kinds))}
        few, many = [], []
        self.objective.train()
        for _ in range(steps):
            few.append(self._timed(lambda: self.steppers["bf16"].step(self.memory[0])))
            many.append(self._timed(lambda: self.many_verbs.step(self.memory[0])))
        self._watch_parts()
        return found | {"few": median(few), "many": median(many)}

    def _from_memory(self, kind: Precision, steps: int) -> float:
        return self._pass(self.steppers[kind], cycle(self.memory), steps)

    def _watch_parts(self) -> None:
        """One step of each kind apart from the timed ones: on a GPU, to watch a part is to wait for it."""
        self.objective.train()
        for kind, stepper in self.steppers.items():
            with self.parts[kind].watching():
                stepper.step(self.memory[0])

    def _from_store(self, steps: int, number: int) -> float:
        """Read ahead as in training: while a step computes, the batch after the next one is read."""
        with closing(read_ahead(self.train.read, self._rows(steps + 4, number))) as read:
            return self._pass(self.steppers["bf16"], read, steps)

    def _pass(self, stepper: Stepper, wanted: Iterable[Batch], steps: int) -> float:
        """Seconds a step. The first step of a pass does not count: it waits for its batch to be read."""
        self.objective.train()
        each = iter(wanted)
        stepper.step(next(each))
        return self._timed(lambda: [stepper.step(next(each)) for _ in range(steps)]) / steps

    def _rows(self, count: int, seed: int) -> list[list[int]]:
        """Batches of random pictures, epoch after epoch."""
        pictures, batch = len(self.train), self.sizes.batch
        epochs = range(-(-count * batch // pictures))
        order = np.concatenate([permutation(pictures, seed, epoch) for epoch in epochs])
        return [list(some) for some in batches(order[: count * batch].tolist(), batch)]

    def _evaluate(self) -> None:
        """As `mipd-pipe evaluate` does: in fp32, see there."""
        device = self.steppers["fp32"].device
        evaluate(self.objective.student, self.labels, self.test, self.vocabulary, self.sizes.batch, device)

    def _timed(self, work: Callable[[], object]) -> float:
        wait = waiter(self.steppers["bf16"].device)
        wait()
        start = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - start


def _stepper(
    objective: Objective, labels: LabelVectors, sizes: Sizes, kind: Precision, device: torch.device
) -> Stepper:
    """All verbs are candidates."""
    candidates = torch.ones(len(labels.verb), dtype=torch.bool, device=device)
    return Stepper(objective, labels, candidates, train_settings(sizes, kind, "auto"), device, kind)
