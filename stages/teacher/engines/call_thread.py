"""An event loop in a thread of its own, for calls that go on while their caller does something else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

LAST_BREATH = 10.0  # seconds given to open calls to end once they are called off


class CallThread:
    """Runs coroutines; a future that is cancelled ends its call at once, with its connection."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a call that waits for a server must not hold up the end of the program.
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoints", daemon=True)
        self._thread.start()

    def submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def close(self, last: Coroutine[Any, Any, None]) -> bool:
        """Calls off what is open, runs `last`, and ends the thread. False = something did not end in time.

        The thread is then left behind, and dies with the program.
        """
        try:
            self.submit(_end_all(last)).result(LAST_BREATH)
        except TimeoutError:
            return False
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LAST_BREATH)
        if not self._loop.is_running():
            self._loop.close()
        return True


async def _end_all(last: Coroutine[Any, Any, None]) -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await last
    await asyncio.get_running_loop().shutdown_default_executor()
