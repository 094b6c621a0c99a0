"""Compacts a store in a process that kills itself at a given audit event of the interpreter.

Not a test: tests start it as ``killed_compact.py STORE EVENT ROWS_PER_PART``; EVENT 0 never kills and prints
how many there are. An event may be a file that is opened, renamed or removed: anything that touches the disk.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from cache.compact import compact
from cache.paths import StorePaths


def main(store: str, moment: str, rows_per_part: str) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += 1
        if seen == int(moment):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    compact(StorePaths(Path(store)), rows_per_part=int(rows_per_part))
    sys.stdout.write(str(seen))


main(*sys.argv[1:])
