"""A command of this program in a process of its own, with the memory it took."""

from __future__ import annotations

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
    peak = log.with_name(f"{log.name}.peak")
    program = [sys.executable, "-c", _PROGRAM, str(peak), *command, *assignments]
    started = time.time()
    with log.open("ab") as output:
        ended = subprocess.run(program, stdout=output, stderr=output).returncode
    if ended:
        said = log.read_text(errors="replace")[-_SHOWN:]
        raise MachineError(f"`mipd-pipe {' '.join(command)}` ended with {ended}:\n{said}")
    return Ended(started, time.time() - started, float(peak.read_text()))


_PROGRAM = """
import atexit, sys
from pathlib import Path
from pipeline.bench.child import peak_mib
peak = Path(sys.argv.pop(1))
atexit.register(lambda: peak.write_text(str(peak_mib())))
from pipeline.cli import main
main()
"""


def peak_mib() -> float:
    """Most memory this process has had resident at once.

    Not getrusage's: that starts from what the parent had, so a large benchmark would measure itself.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
