"""Ends the processes that vLLM starts when the process that started them dies."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2)
# In the environment of every process that vLLM's are started by: its own id, for its children to compare.
STARTER = "MIPD_PIPE_STARTER"


def die_with_parent() -> None:
    """Asks Linux to kill this process when its parent ends; does nothing in a process nobody spawned.

    Without it a killed driver (kill -9, the out-of-memory killer, SIGTERM without a handler) leaves the
    engine and its workers running for ever, holding the GPU's memory: they wait on a socket that nobody
    writes to, and ignore SIGTERM (seen with vLLM 0.32).

    vLLM calls it in every process it starts, as an installed plugin of two kinds (entry points). That of
    ``vllm.platform_plugins`` comes first, while the process still imports vLLM: it names no platform, so
    nothing is chosen differently. That of ``vllm.general_plugins`` comes when the engine is set up, after it
    has waited for its driver for up to five minutes; it serves where VLLM_TARGET_DEVICE leaves out the first.

    The signal comes when the *thread* that started the engine ends, so load engines from a thread that lives
    as long as they do, such as the main one.
    """
    starter = os.environ.get(STARTER)
    # What this process starts compares with this process; it may itself be one that vLLM started.
    os.environ[STARTER] = str(os.getpid())
    if not _is_spawned() or not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if _starter_is_gone(starter) or _parent_is_gone():
        os._exit(1)  # it died before prctl took effect, so no signal will come


def _is_spawned() -> bool:
    """Whether multiprocessing started this process; also true while it still unpickles what it is to run."""
    from multiprocessing import parent_process

    return parent_process() is not None or "--multiprocessing-fork" in sys.orig_argv


def _starter_is_gone(starter: str | None) -> bool:
    """Whether the process that is noted as the starter is dead. One that lives need not be the parent."""
    if starter is None or int(starter) in (os.getpid(), os.getppid()):
        return False
    try:
        state = Path(f"/proc/{starter}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in ("Z", "X")


def _parent_is_gone() -> bool:
    from multiprocessing import parent_process

    parent = parent_process()
    return parent is not None and not parent.is_alive()
