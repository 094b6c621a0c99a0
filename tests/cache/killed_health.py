"""Compacts or repairs a store in a process that kills itself at a given audit event of the interpreter.

Not a test: tests start it as ``killed_health.py STORE compact|repair EVENT``; EVENT 0 never kills and prints
how many there are. An event may be a file that is opened, renamed or removed: anything that touches the disk.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cache.compact import compact
from cache.paths import StorePaths
from cache.repair import repair

ROWS_PER_PART = 8


def run_killed(store: Path, command: str, moment: int) -> subprocess.CompletedProcess[str]:
    """For the tests: this script in a process of its own."""
    words = [sys.executable, __file__, str(store), command, str(moment)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done


def main(store: str, command: str, moment: str) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += 1
        if seen == int(moment):
            os.kill(os.getpid(), signal.SIGKILL)

    paths = StorePaths(Path(store))
    sys.addaudithook(hook)
    if command == "compact":
        compact(paths, rows_per_part=ROWS_PER_PART)
    else:
        repair(paths)
    sys.stdout.write(str(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
