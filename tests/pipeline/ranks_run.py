"""Runs the command line as one of several processes, of which one may stop in the middle of a step.

Not a test: tests have torchrun start it as ``ranks_run.py RANK STEP HOW COMMAND...``. The process of that
rank ends in its STEP-th step (0: never): HOW is ``kill``, ``term`` (it is asked to stop, politely), ``fail``
(its disk fails) or ``nan`` (its batch holds a token that is no number).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from cache.errors import MachineError
from pipeline import cli
from stages.student.objective.objective import Loss
from stages.student.reading.batch import Batch
from stages.student.training.step import Stepper


def main(rank: str, step: str, how: str, *command: str) -> None:
    taken, backward = 0, Stepper._backward

    def watched(self: Stepper, parts: Sequence[Batch], counted: bool) -> list[Loss]:
        nonlocal taken
        taken += 1
        if (os.environ.get("RANK"), str(taken)) == (rank, step):
            _end(how, parts)
        return backward(self, parts, counted)

    setattr(Stepper, "_backward", watched)  # noqa: B010 - a method
    sys.argv = ["mipd-pipe", *command]
    cli.main()


def _end(how: str, parts: Sequence[Batch]) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    elif how == "fail":
        raise MachineError("the disk of this node is full")
    else:
        parts[0].vision[0, 0, 0] = float("nan")


if __name__ == "__main__":
    main(*sys.argv[1:])
