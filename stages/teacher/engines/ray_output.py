"""Keeps what Ray prints off stdout, where this program prints results."""

from __future__ import annotations

import sys
import threading
from typing import Any, TextIO, cast

# Names of the threads in which Ray prints the workers' messages and its own. It has no setting for the
# second kind, and prints them on stdout (2.60).
RAY_THREADS = "ray_"


class StdoutWithoutRay:
    """stdout as it was, but what Ray's threads print goes to stderr."""

    def __init__(self, stdout: TextIO) -> None:
        self.stdout = stdout

    def write(self, text: str) -> int:
        ray = threading.current_thread().name.startswith(RAY_THREADS)
        return (sys.stderr if ray else self.stdout).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stdout, name)


def keep_ray_off_stdout() -> None:
    """Puts such a stdout in place; call it before Ray connects."""
    if not isinstance(sys.stdout, StdoutWithoutRay):
        sys.stdout = cast(TextIO, StdoutWithoutRay(sys.stdout))


def give_stdout_back() -> None:
    """Undoes `keep_ray_off_stdout`, unless somebody else has replaced stdout since."""
    if isinstance(sys.stdout, StdoutWithoutRay):
        sys.stdout = sys.stdout.stdout
