"""Runs the command line in a process that stops itself after a given number of units.

Not a test: tests start it as ``stopped_run.py UNITS SIGNAL ASKED COMMAND...``. A unit is an answer of the
engine, a call of a vision encoder or a training step; right after the last of them the process sends
itself the signal (UNITS 0: never). UNITS e500 stops at the 500th audit event of the interpreter instead (a
file opened or renamed, a module loaded ...), which may be anywhere; e0 writes their number beside ASKED at
the end. Every picture that the engine or an encoder is asked about is appended to the file ASKED.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.keys import digest_bytes
from pipeline import cli, engines, stage_one, workspace
from pipeline.console import Console
from stages.reporter import Advance
from stages.teacher.encoders import sources
from stages.teacher.encoders.encoder import Floats, VisionEncoder
from stages.teacher.encoders.encoder_settings import VisionEncoderSettings
from stages.teacher.engines.engine import Answer, Engine, Request


class Countdown:
    """Sends the signal when it reaches zero; never when it starts at zero."""

    def __init__(self, units: int, sent: signal.Signals) -> None:
        self.left = units
        self._sent = sent

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self._sent)


class StoppedEngine:
    """The real engine, watched."""

    def __init__(self, engine: Engine, countdown: Countdown, asked: Path) -> None:
        self._engine, self._countdown, self._asked = engine, countdown, asked

    def identity(self) -> Mapping[str, Any]:
        return self._engine.identity()

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for answer in self._engine.answer(self._noted(requests)):
            yield answer
            self._countdown.count()

    def _noted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            note(self._asked, request.sample.image)
            yield request

    def close(self) -> None:
        self._engine.close()


class StoppedVision:
    """The real vision encoder, watched."""

    def __init__(self, encoder: VisionEncoder, countdown: Countdown, asked: Path) -> None:
        self._encoder, self._countdown, self._asked = encoder, countdown, asked
        self.geometry, self.dim, self.batch_size = encoder.geometry, encoder.dim, encoder.batch_size

    def identity(self) -> Mapping[str, Any]:
        return self._encoder.identity()

    def encode(self, frames: NDArray[np.uint8]) -> Floats:
        tokens = self._encoder.encode(frames)
        for frame in frames:
            note(self._asked, digest_bytes(frame.tobytes()))
        self._countdown.count()
        return tokens

    def close(self) -> None:
        self._encoder.close()


class StoppedConsole(Console):
    """The real console; also counts training steps."""

    countdown: Countdown

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0, unit: str = "picture") -> Iterator[Advance]:
        with super().progress(title, total, done, unit) as advance:

            def counted(count: int) -> None:
                advance(count)
                if unit == "step":
                    self.countdown.count()

            yield counted


def note(asked: Path, name: str) -> None:
    with asked.open("a") as file:
        file.write(f"{name}\n")


def count_events(countdown: Countdown, report: Path) -> None:
    """Counts down at every audit event from now on."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += 1
        countdown.count()

    if countdown.left == 0:
        atexit.register(lambda: report.write_text(str(seen)))
    sys.addaudithook(hook)


def main(units: str, signal_name: str, asked: str, *command: str) -> None:
    countdown, asked_file = Countdown(int(units.removeprefix("e")), signal.Signals[signal_name]), Path(asked)
    if units.startswith("e"):
        count_events(countdown, asked_file.with_suffix(".events"))
        countdown = Countdown(0, signal.Signals[signal_name])
    make_engine, open_vision = engines.make_engine, sources.open_vision

    def watched(of: workspace.Workspace) -> Engine:
        return StoppedEngine(make_engine(of), countdown, asked_file)

    setattr(stage_one, "make_engine", watched)  # noqa: B010 - a name the module only imports

    def watched_vision(settings: VisionEncoderSettings, say: sources.Say | None = None) -> VisionEncoder:
        return StoppedVision(open_vision(settings, say), countdown, asked_file)

    sources.open_vision = watched_vision
    StoppedConsole.countdown = countdown
    setattr(workspace, "Console", StoppedConsole)  # noqa: B010 - a name the module only imports
    sys.argv = ["mipd-pipe", *command]
    cli.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
