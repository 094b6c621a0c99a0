"""Ends the processes that vLLM starts when the process that started them dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Asks Linux to kill this process when its parent ends; does nothing in a process nobody spawned.

    vLLM calls it as an installed plugin (entry point ``vllm.general_plugins``) in every process it starts.
    Without it a killed driver (kill -9, the out-of-memory killer, SIGTERM without a handler) leaves the
    engine and its workers running for ever, holding the GPU's memory: they wait on a socket that nobody
    writes to, and ignore SIGTERM (seen with vLLM 0.32).

    The signal comes when the *thread* that started the engine ends, so load engines from a thread that lives
    as long as they do, such as the main one.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if not parent.is_alive():  # it died before prctl took effect, so no signal will come
        os._exit(1)
