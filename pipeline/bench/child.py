"""Work in a process of its own, and the memory that it took."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cache.errors import MachineError
from stages.teacher.engines.process_memory import memory_kib

_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Ended:
    """`started` in seconds since the epoch; `peak_mib` = most resident memory at once."""

    started: float
    seconds: float
    peak_mib: float


def run_command(command: Sequence[str], settings: Mapping[str, object], log: Path) -> Ended:
    """Runs `mipd-pipe COMMAND --set ...`, its output into `log`.

    Raises MachineError where it fails, or memory cannot be measured.
    """
    peak_mib()  # refused here: in the process that is measured it would be too late to say why
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


def in_new_process(work: Callable[..., Any], *given: object) -> Any:
    """What `work(*given)` returns in a new process, whose memory is its own.

    `work` and what is given must pickle. Raises MachineError where the process ends without an answer, or
    memory cannot be measured.
    """
    peak_mib()
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, work, *given))
    process.start()
    theirs.close()
    try:
        return mine.recv()
    except EOFError:
        process.join()  # only then is its exit status known
        raise MachineError(f"the process that was measured ended with {process.exitcode}") from None
    finally:
        process.join()


def _answer(answer: Connection, work: Callable[..., Any], *given: object) -> None:
    answer.send(work(*given))


def peak_mib() -> float:
    """Most memory this process has had resident at once.

    Not getrusage's: that starts from what the parent had, so a large benchmark would measure itself.
    """
    return _memory_kib("VmHWM") / 1024


def own_bytes() -> int:
    """Memory of this process now, without pages of files, which the system takes back when it needs room."""
    return _memory_kib("RssAnon") << 10


def _memory_kib(line: str) -> int:
    found = memory_kib(os.getpid(), line)
    if not found:  # 0 would pass for a figure, and a very good one
        raise MachineError("memory is measured by Linux's /proc, which is not here; run it on Linux")
    return found
