"""Trains the student against the store, and goes on exactly where a killed run stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from cache.atomic import TEMPORARY
from cache.errors import UserError
from cache.lock import writer_lock
from stages.data.sample import Subset
from stages.data.vocabulary import Vocabulary
from stages.held_signals import signals_held
from stages.reporter import Reporter
from stages.settings import changed_settings
from stages.student.alignment import Alignment
from stages.student.average import WeightAverage
from stages.student.calibration import unseen_bias
from stages.student.checkpoint import BEST, Position, load_state, save_state, save_student, student_facts
from stages.student.data_order import epoch_batches, load
from stages.student.dataset import StoreDataset
from stages.student.device import choose_device, keep_freed_memory
from stages.student.evaluate import evaluate, verb_logits
from stages.student.labels import LabelTexts, label_centres
from stages.student.metrics import selection_figure, summarise
from stages.student.model import Student
from stages.student.objective import Objective
from stages.student.precision import Precision, choose_precision
from stages.student.queries import role_numbers
from stages.student.released import ReleasedAlignment, ReleasedObjective
from stages.student.settings import LossSettings, StudentSettings, TrainSettings
from stages.student.step import Stepper
from stages.student.tensor_file import load_facts
from stages.student.training_log import TrainingLog

# They change how fast or how long training runs, not what a step computes, so a resume may change them.
_FREE = ("epochs", "num_workers", "checkpoint_every_steps", "keep", "patience", "device")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What training reads.

    train        with the teacher's banks where distillation is on
    select       seen verbs of the dev set; the best checkpoint is chosen on them
    labels       text embeddings of the vocabulary
    fingerprint  of each thing a step depends on, by name; a resume with another one is refused
    proof        of `leakage.refuse_leaks`
    encoders     of pictures and of label texts, as whoever uses the student elsewhere must open them
    """

    train: StoreDataset
    select: StoreDataset
    labels: LabelTexts
    vocabulary: Vocabulary
    subset_of: Mapping[str, Subset]
    fingerprint: Mapping[str, str]
    proof: Mapping[str, Any]
    encoders: Mapping[str, Any] = field(default_factory=dict)


class Trainer:
    """One training run in one folder."""

    def __init__(
        self,
        data: TrainingData,
        student: StudentSettings,
        losses: LossSettings,
        settings: TrainSettings,
        folder: Path,
        reporter: Reporter,
    ) -> None:
        self.data, self.settings, self.folder, self.reporter = data, settings, folder, reporter
        self.device = choose_device(settings.device)
        keep_freed_memory()
        self.precision = self._choose_precision()
        self._obeyed = {
            "student": student.model_dump(),
            "losses": losses.model_dump(),
            "train": settings.model_dump(exclude=set(_FREE)) | {"precision": self.precision},
            "data": dict(data.fingerprint),
        }
        torch.manual_seed(settings.seed)
        self.objective = build_objective(data, student, losses).to(self.device)
        self.average = WeightAverage(self.objective.student, settings.ema) if settings.ema else None
        self.labels = self.objective.student.label_vectors(data.labels.to(self.device))
        self._stepper = Stepper(
            self.objective,
            self.labels,
            training_verbs(data).to(self.device),
            settings,
            self.device,
            self.precision,
        )
        self._position = Position()
        geometry, encoder = data.train.geometry, data.train.vision.header.encoder
        vision_dim = data.train.vision.header.shape[-1]
        self._facts = student_facts(student, geometry, vision_dim, data.vocabulary, encoder) | {
            "subset_of": dict(data.subset_of),
            "fingerprint": dict(data.fingerprint),
            "proof": dict(data.proof),
            "encoders": dict(data.encoders),
            "precision": self.precision,
        }

    def run(self) -> Path:
        """Trains what is left of the epochs; returns the best checkpoint's file.

        Raises UserError where the folder holds a run with other settings or data.
        """
        with writer_lock(self.folder, "train-student"):
            position = self._position = self._resume()
            with self._log(position) as log, self._progress(position) as advance, self._saved_when_stopped():
                while not self._is_finished(self._position):
                    for _ in self._epoch(log):
                        advance(1)
                        self._save_within_epoch(self._position)
                    self._position = self._end_epoch(self._position, log)
                    self._save(self._position)
        return self.folder / BEST

    @contextmanager
    def _saved_when_stopped(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM cost no step: the state of the last finished one is written."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self._save(self._position)
            self.reporter.say(
                f"training stopped at step {self._position.step}, which is written to {self.folder}; the "
                "same command goes on from there"
            )
            raise

    def _choose_precision(self) -> Precision:
        """What the settings name; else what the run began with; else what is fast on this device."""
        if self.settings.precision != "auto":
            return self.settings.precision
        states = sorted(self.folder.glob("state-*.safetensors"))
        if states:
            begun: Precision = load_facts(states[-1])["obeyed"]["train"].get("precision", "fp32")
            return begun
        return choose_precision(self.device)

    # --- resume --------------------------------------------------------------------------------------

    def _resume(self) -> Position:
        for leftover in self.folder.glob(f"*{TEMPORARY}*"):  # of a run killed while it wrote
            leftover.unlink()
        states = sorted(self.folder.glob("state-*.safetensors"))
        if not states:
            return Position()
        before = load_facts(states[-1])["obeyed"]
        changed = changed_settings(before, self._obeyed)
        if changed:
            listed = "\n".join(f"  {line}" for line in changed)
            raise UserError(
                f"{self.folder} holds a training run with other settings or data, so going on would not be "
                f"the same run:\n{listed}\nPut them back, or train elsewhere on the same store: "
                "--set run_dir=ANOTHER --set store_dir=THIS_STORE"
            )
        position = load_state(states[-1], self.objective, self._stepper.optimizer, self.average)
        if position.epoch and not (self.folder / BEST).exists():
            raise UserError(
                f"{self.folder / BEST} is missing, but {position.epoch} epochs are done and none of those "
                f"left need be better; put the file back, or move {self.folder} away to train from the start"
            )
        if position.epoch > self.settings.epochs:
            raise UserError(
                f"{self.folder} has trained {position.epoch} epochs, train.epochs asks for "
                f"{self.settings.epochs}: its figures would not be those of so few; set train.epochs "
                "back, or train elsewhere: --set run_dir=ANOTHER --set store_dir=THIS_STORE"
            )
        state = "finished" if self._is_finished(position) else f"going on at epoch {position.epoch + 1}"
        self.reporter.say(f"training in {self.folder}: {state}, step {position.step}")
        return position

    def _is_finished(self, position: Position) -> bool:
        patience = self.settings.patience
        return position.epoch >= self.settings.epochs or bool(patience and position.stale >= patience)

    # --- one epoch -----------------------------------------------------------------------------------

    def _epoch(self, log: TrainingLog) -> Iterator[None]:
        """Takes the steps left in an epoch; yields after each, when `_position` is the one behind it."""
        position, settings = self._position, self.settings
        rows = epoch_batches(
            self.data.train, settings.batch_size, settings.seed, position.epoch, settings.balance
        )
        self.objective.train()
        for batch in load(self.data.train, rows[position.batch :], settings.num_workers):
            with signals_held():
                loss = self._stepper.step(batch)
                position = replace(position, batch=position.batch + 1, step=position.step + 1)
                if self.average:
                    self.average.update(position.step)
                self._position = position
            log.step(loss, position.step)
            yield

    def _end_epoch(self, position: Position, log: TrainingLog) -> Position:
        """Measures the epoch on the seen dev pictures and keeps the student where it is the best so far."""
        epoch = position.epoch + 1
        with self.average.applied() if self.average else nullcontext():
            figure = self._selection_figure()
            better = figure is None or position.best is None or figure > position.best
            if better:
                facts = {**self._facts, "epoch": epoch, "step": position.step, "selected": figure}
                save_student(self.folder / BEST, self.objective.student, self._calibrated_labels(), facts)
        log.epoch(epoch, position.step, figure)
        self.reporter.event("epoch", epoch=epoch, step=position.step, selected=figure, better=better)
        return replace(
            position,
            epoch=epoch,
            batch=0,
            best=figure if better else position.best,
            stale=0 if better else position.stale + 1,
        )

    def _selection_figure(self) -> float | None:
        """None where the dev set has no picture of a seen verb: then the last epoch counts as the best."""
        data = self.data
        if not len(data.select):
            return None
        evaluation = evaluate(
            self.objective.student,
            self.labels,
            data.select,
            data.vocabulary,
            self.settings.batch_size,
            self.device,
            precision=self.precision,
        )
        subsets = [data.subset_of[verb] for verb in data.vocabulary.verbs]
        metrics = summarise(evaluation.results, subsets, "dev")
        return selection_figure(metrics, "seen", self.settings.select)

    def _calibrated_labels(self) -> LabelTexts:
        """The labels with what the unseen verbs' logits are raised by; see `stages.student.calibration`."""
        data, settings = self.data, self.settings
        if not settings.calibrate or not len(data.select):
            return data.labels
        logits, verb = verb_logits(
            self.objective.student, self.labels, data.select, settings.batch_size, self.device
        )
        unseen = ~training_verbs(data)
        bias = unseen_bias(logits, verb, unseen, settings.calibrate)
        return replace(data.labels, verb_bias=bias * unseen)

    # --- keeping -------------------------------------------------------------------------------------

    def _save_within_epoch(self, position: Position) -> None:
        every = self.settings.checkpoint_every_steps
        if every and position.step % every == 0:
            self._save(position)

    def _save(self, position: Position) -> None:
        path = self.folder / f"state-{position.step:08d}.safetensors"
        save_state(
            path, self.objective, self._stepper.optimizer, position, {"obeyed": self._obeyed}, self.average
        )
        for old in sorted(self.folder.glob("state-*.safetensors"))[: -self.settings.keep]:
            old.unlink()

    @contextmanager
    def _progress(self, position: Position) -> Iterator[Any]:
        steps = math.ceil(len(self.data.train) / self.settings.batch_size) * self.settings.epochs
        with self.reporter.progress("train-student", steps, position.step, unit="step") as advance:
            yield advance

    @contextmanager
    def _log(self, position: Position) -> Iterator[TrainingLog]:
        log = TrainingLog(self.folder / "log", position.step)
        try:
            yield log
        finally:
            log.close()


def build_objective(data: TrainingData, student: StudentSettings, losses: LossSettings) -> Objective:
    """Student and alignment of the sizes the banks have."""
    banks, train = data.train.teacher, data.train
    roles = role_numbers([data.vocabulary.frames[verb].roles for verb in data.vocabulary.verbs])
    vision_dim, label_dim = train.vision.header.shape[-1], data.labels.width
    model = Student(student, train.geometry, vision_dim, label_dim, len(data.labels.noun), roles)
    if student.centre_labels:
        model.label_centres.copy_(label_centres(data.labels, training_verbs(data)))
    kind, objective = (
        (ReleasedAlignment, ReleasedObjective) if student.as_released else (Alignment, Objective)
    )
    alignment = None
    if banks is not None:
        dims = banks.vision.header.shape[-1], banks.text.header.shape[-1]
        alignment = kind(student, banks.geometry, *dims)
    return objective(model, alignment, losses)


def training_verbs(data: TrainingData) -> torch.Tensor:
    """[V] bool: verbs that are not held out. The only candidates of the training softmax."""
    return torch.tensor([data.subset_of[verb] != "unseen" for verb in data.vocabulary.verbs])
