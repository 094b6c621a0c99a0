"""A command of this program in a process of its own, with the memory it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import MachineError

_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Ended:
    """`started` in seconds since the epoch; `peak_mib` = most resident memory at once."""

    started: float
    seconds: float
    peak_mib: float


def run_command(command: Sequence[str], settings: Mapping[str, object], log: Path) -> Ended:
    """Runs `mipd-pipe COMMAND --set ...`, its output into `log`. Raises MachineError where it fails."""
    assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    program = [sys.executable, "-c", "from pipeline.cli import main; main()", *command, *assignments]
    started = time.time()
    with log.open("ab") as output:
        process = subprocess.Popen(program, stdout=output, stderr=output)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = log.read_text(errors="replace")[-_SHOWN:]
        raise MachineError(f"`mipd-pipe {' '.join(command)}` ended with {process.returncode}:\n{said}")
    return Ended(started, time.time() - started, usage.ru_maxrss / 1024)
