"""The processes that a loaded vLLM works in: watched while it works, gone when it is closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm import LLM

_LAST_BREATH = 10.0  # seconds given to a killed process to be gone


def watch_over(llm: LLM, closing: threading.Event) -> None:
    """From now on, until `closing` is set, a step that waits for an engine that is gone raises an error."""
    core = llm.llm_engine.engine_core
    if hasattr(core, "outputs_queue"):  # an engine in a process of its own
        threading.Thread(target=_watch, args=(core, closing), daemon=True).start()


def _watch(core: Any, closing: threading.Event) -> None:
    """Wakes `step`, which would wait for ever, when the engine's process is gone (killed, out of memory)."""
    from vllm.v1.engine.exceptions import EngineDeadError

    while not closing.wait(0.5):
        if core.resources.engine_dead:
            core.outputs_queue.put_nowait(EngineDeadError())
            return


def processes(core: Any) -> list[Any]:
    """The processes the engine runs in; none where it runs in this one."""
    manager = getattr(getattr(core, "resources", None), "engine_manager", None)
    return list(getattr(manager, "processes", ()))


def end_llm(llm: LLM) -> None:
    """Ends the engine's processes and waits for them, because only then is their memory free."""
    core = llm.llm_engine.engine_core
    running = processes(core)
    core.shutdown()  # asks, and after VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS kills
    for process in running:
        process.join(_LAST_BREATH)
