"""Trains the student against the store, and goes on exactly where a killed run stopped."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from cache.errors import UserError
from cache.keys import derive_number
from cache.lock import writer_lock
from stages.held_signals import signals_held
from stages.reporter import Advance, Reporter
from stages.student.network.labels import LabelTexts
from stages.student.parts import own_parts, refuse_parts
from stages.student.processes import LostProcessError, Processes
from stages.student.reading.data_order import epoch_batches, load
from stages.student.settings import LossSettings, StudentSettings, TrainSettings
from stages.student.state_folder import StateFolder
from stages.student.training.average import WeightAverage
from stages.student.training.calibration import calibrated_labels
from stages.student.training.checkpoint import BEST, Position, save_student, student_facts
from stages.student.training.device import choose_device, keep_freed_memory
from stages.student.training.precision import PRECISIONS, Precision, choose_precision
from stages.student.training.selection import figure_on_dev
from stages.student.training.step import Stepper
from stages.student.training.training_log import TrainingLog
from stages.student.training_data import TrainingData, build_objective, training_verbs
from stages.student.wandb_curves import WandbCurves

# They change how fast or how long training runs, not what a step computes, so a resume may change them.
_FREE = ("epochs", "num_workers", "checkpoint_every_steps", "keep", "patience", "device", "wandb")


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
        processes: Processes | None = None,
    ) -> None:
        self.data, self.settings, self.folder, self.reporter = data, settings, folder, reporter
        self.processes = processes or Processes()
        refuse_parts(settings, student, losses, self.processes.count)
        self.device = choose_device(settings.device, self.processes.local_rank)
        keep_freed_memory()
        self._states = StateFolder(folder, settings.keep)
        self.precision = self._choose_precision()
        several = {"processes": self.processes.count} if self.processes.count > 1 else {}
        self._obeyed = {
            "student": student.model_dump(),
            "losses": losses.model_dump(),
            "train": settings.model_dump(exclude=set(_FREE)) | {"precision": self.precision} | several,
            "data": dict(data.fingerprint),
        }
        torch.manual_seed(settings.seed)
        self.objective = build_objective(data, student, losses).to(self.device)
        if settings.compile:
            self.objective.compile()
        self.average = WeightAverage(self.objective.student, settings.ema) if settings.ema else None
        self.labels = self.objective.student.label_vectors(data.labels.to(self.device))
        self._stepper = Stepper(
            self.objective,
            self.labels,
            training_verbs(data).to(self.device),
            settings,
            self.device,
            self.precision,
            self.processes,
        )
        self._position = Position()
        self._signals: list[int] = []
        geometry, encoder = data.train.geometry, data.train.vision.header.encoder
        vision_dim = data.train.vision.header.shape[-1]
        self._facts = student_facts(student, geometry, vision_dim, data.vocabulary, encoder) | {
            "subset_of": dict(data.subset_of),
            "fingerprint": dict(data.fingerprint),
            "proof": dict(data.proof),
            "encoders": dict(data.encoders),
            "precision": self.precision,
        }

    @property
    def _writes(self) -> bool:
        return self.processes.rank == 0

    def run(self) -> Path:
        """Trains what is left of the epochs; returns the best checkpoint's file.

        Raises UserError where the folder holds a run with other settings or data, LostProcessError where
        another process is gone.
        """
        with writer_lock(self.folder, "train-student") if self._writes else nullcontext():
            if self._writes:
                self._states.remove_leftovers()
            position = self._position = self._resume()
            self._require_same_start(position)
            with (
                self._log(position) as log,
                self._progress(position) as advance,
                self._saved_when_stopped(),
                self._stopping_together(),
            ):
                self._train(log, advance)
        return self.folder / BEST

    def _train(self, log: TrainingLog | None, advance: Advance) -> None:
        while not self._is_finished(self._position):
            for _ in self._epoch(log):
                advance(1)
                self._save_within_epoch(self._position)
            if self.processes.count > 1:  # who stops them all waits for no evaluation, and then kills
                self._save(self._position)
            self._position = self._end_epoch(self._position, log)
            self._save(self._position)

    @contextmanager
    def _stopping_together(self) -> Iterator[None]:
        """Several processes stop after the same step: whoever left alone would leave the others in theirs."""
        if self.processes.count == 1:
            yield
            return
        with signals_held() as self._signals:
            yield

    @contextmanager
    def _saved_when_stopped(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and the end of another process cost no step: the state of the last is written."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as stop:
            where = self._save_at_end()
            # What starts the processes stops those that are left when one of them is gone.
            lost = f"{stop.__context__}; " if isinstance(stop.__context__, LostProcessError) else ""
            if self._writes or lost:
                self.reporter.say(f"{lost}training stopped at {where}; the same command goes on from there")
            raise
        except LostProcessError as lost:
            where = self._save_at_end()
            raise LostProcessError(
                f"{lost}; training stopped at {where}; the same command goes on from there"
            ) from None

    def _save_at_end(self) -> str:
        if not self._writes:
            return f"step {self._position.step}; the newest state in {self.folder} is whole"
        with signals_held():  # a second one, of an impatient user, must not cost the state
            self._save(self._position)
        return f"step {self._position.step}, which is written to {self.folder}"

    def _choose_precision(self) -> Precision:
        """What the settings name; else what the run began with; else what is fast on rank 0's device."""
        if self.settings.precision != "auto":
            return self.settings.precision
        found = 0
        if self._writes:
            found = PRECISIONS.index(self._states.begun_in() or choose_precision(self.device))
        return PRECISIONS[int(self.processes.send(found))]

    # --- resume --------------------------------------------------------------------------------------

    def _resume(self) -> Position:
        position = self._states.load(
            self._obeyed, self.settings.epochs, self.objective, self._stepper.optimizer, self.average
        )
        if position is None:
            return Position()
        state = "finished" if self._is_finished(position) else f"going on at epoch {position.epoch + 1}"
        if self._writes:
            self.reporter.say(f"training in {self.folder}: {state}, step {position.step}")
        return position

    def _require_same_start(self, position: Position) -> None:
        """All processes go on from one position, with the same weights."""
        first = int(self.processes.send(position.step))
        if first != position.step:
            raise UserError(
                f"rank {self.processes.rank} finds step {position.step} in {self.folder}, rank 0 step {first}"
                "; run_dir must lie on a disk that all nodes share"
            )
        self.processes.send_weights(self.objective)

    def _is_finished(self, position: Position) -> bool:
        patience = self.settings.patience
        return position.epoch >= self.settings.epochs or bool(patience and position.stale >= patience)

    # --- one epoch -----------------------------------------------------------------------------------

    def _epoch(self, log: TrainingLog | None) -> Iterator[None]:
        """Takes the steps left in an epoch; yields after each, when `_position` is the one behind it."""
        position, settings = self._position, self.settings
        rows = epoch_batches(
            self.data.train, settings.batch_size, settings.seed, position.epoch, settings.balance
        )[position.batch :]
        rank, ranks = self.processes.rank, self.processes.count
        own = [own_parts(batch, rank, ranks, settings.accumulate) for batch in rows]
        shown = [parts or [batch[:1]] for parts, batch in zip(own, rows, strict=True)]
        self.objective.train()
        read = load(self.data.train, [part for parts in shown for part in parts], settings.num_workers)
        for parts, wanted in zip(own, shown, strict=True):
            batches = [next(read) for _ in wanted]
            self._begin_step(position)
            with signals_held():
                loss = self._stepper.step_parts(batches, counted=bool(parts))
                position = replace(position, batch=position.batch + 1, step=position.step + 1)
                if self.average:
                    self.average.update(position.step)
                self._position = position
            del batches  # its memory serves the batch that is read next
            if log:
                log.step(loss, position.step)
            yield
            if self.processes.stopping:
                raise SystemExit(128 + (self._signals or [signal.SIGTERM])[0])

    def _begin_step(self, position: Position) -> None:
        """Several processes draw random numbers of their own, which a resume finds again without a state."""
        if self.processes.count > 1:
            self.processes.want_stop(bool(self._signals))
            drawn = derive_number("step", self.settings.seed, position.step, self.processes.rank)
            torch.manual_seed(drawn)

    def _end_epoch(self, position: Position, log: TrainingLog | None) -> Position:
        """Measures the epoch on the seen dev pictures and keeps the student where it is the best so far."""
        epoch = position.epoch + 1
        with self.average.applied() if self.average else nullcontext():
            figure = self._shared_figure()
            better = figure is None or position.best is None or figure > position.best
            if better and self._writes:
                facts = {**self._facts, "epoch": epoch, "step": position.step, "selected": figure}
                save_student(self.folder / BEST, self.objective.student, self._calibrated(), facts)
        if log:
            log.epoch(epoch, position.step, figure)
            self.reporter.event("epoch", epoch=epoch, step=position.step, selected=figure, better=better)
        return replace(
            position,
            epoch=epoch,
            batch=0,
            best=figure if better else position.best,
            stale=0 if better else position.stale + 1,
        )

    def _shared_figure(self) -> float | None:
        """Rank 0's; the others wait for it."""
        figure = self._measured() if self._writes else None
        shared = self.processes.send(math.nan if figure is None else figure)
        return None if math.isnan(shared) else shared

    def _measured(self) -> float | None:
        student, settings = self.objective.student, self.settings
        return figure_on_dev(student, self.labels, self.data, settings, self.device, self.precision)

    def _calibrated(self) -> LabelTexts:
        return calibrated_labels(self.objective.student, self.labels, self.data, self.settings, self.device)

    # --- keeping -------------------------------------------------------------------------------------

    def _save_within_epoch(self, position: Position) -> None:
        every = self.settings.checkpoint_every_steps
        if every and position.step % every == 0:
            self._save(position)

    def _save(self, position: Position) -> None:
        if not self._writes:
            return
        optimizer, facts = self._stepper.optimizer, {"obeyed": self._obeyed}
        self._states.save(self.objective, optimizer, position, facts, self.average)

    @contextmanager
    def _progress(self, position: Position) -> Iterator[Advance]:
        if not self._writes:
            yield lambda _: None
            return
        steps = math.ceil(len(self.data.train) / self.settings.batch_size) * self.settings.epochs
        with self.reporter.progress("train-student", steps, position.step, unit="step") as advance:
            yield advance

    @contextmanager
    def _log(self, position: Position) -> Iterator[TrainingLog | None]:
        if not self._writes:
            yield None
            return
        log = TrainingLog(self.folder / "log", position.step, self._curves())
        try:
            yield log
        finally:
            log.close()

    def _curves(self) -> WandbCurves | None:
        """Where `train.wandb` names a project."""
        project = self.settings.wandb
        return WandbCurves(project, self.folder / "log", self._obeyed) if project else None
