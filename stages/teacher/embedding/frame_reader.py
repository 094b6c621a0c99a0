"""Pictures decoded and laid into frames ahead of the encoder, in order."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cache.errors import MachineError
from stages.data.geometry import Geometry
from stages.data.pictures import PictureError, open_picture
from stages.teacher.engines.orphans import die_with_parent

DecodeIn = Literal["threads", "processes"]
Frame = NDArray[np.uint8]  # [size, size, 3]


class FrameReader:
    """Frames of picture files in the order asked for; the workers start at the first picture.

    geometry    how a picture is laid into its frame
    max_pixels  a larger picture is not decoded
    workers     threads or processes
    decode_in   processes are spawned, because a fork would copy the locks of a loaded torch and the handle of
                a GPU, which no child may use

    What a picture becomes does not depend on workers. Close it in the end.
    """

    def __init__(
        self, geometry: Geometry, max_pixels: int, workers: int, decode_in: DecodeIn = "threads"
    ) -> None:
        self._load = partial(load_frame, geometry, max_pixels)
        self._workers, self._decode_in = workers, decode_in
        self._pool: Executor | None = None

    def read(self, pictures: Iterable[Path], ahead: int) -> Iterator[Frame | str]:
        """Each picture's frame, or why it cannot be read; up to `ahead` are held or under way.

        Raises MachineError where a worker process died.
        """
        pending: deque[tuple[Path, Future[Frame | str]]] = deque()
        pool = self._open()
        try:
            for picture in pictures:
                pending.append((picture, _submit(pool, self._load, picture)))
                if len(pending) >= ahead:
                    yield _result(*pending.popleft())
            while pending:
                yield _result(*pending.popleft())
        finally:
            for _, late in pending:
                late.cancel()

    def close(self) -> None:
        """Ends the workers; what they have under way is finished and dropped."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _open(self) -> Executor:
        if self._pool is None and self._decode_in == "processes":
            spawning = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, spawning, initializer=_begin_worker)
        elif self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="picture-reader")
        return self._pool


def load_frame(geometry: Geometry, max_pixels: int, picture: Path) -> Frame | str:
    """The picture in its frame, or why it cannot be read."""
    try:
        return geometry.place(open_picture(picture, max_pixels))
    except PictureError as problem:
        return problem.reason


def _begin_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone answers it, and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def _submit(pool: Executor, load: partial[Frame | str], picture: Path) -> Future[Frame | str]:
    try:
        return pool.submit(load, picture)
    except BrokenProcessPool as reason:
        raise _died(picture, reason) from reason


def _result(picture: Path, future: Future[Frame | str]) -> Frame | str:
    try:
        return future.result()
    except BrokenProcessPool as reason:
        raise _died(picture, reason) from reason


def _died(picture: Path, reason: BrokenProcessPool) -> MachineError:
    return MachineError(
        f"a process that decodes pictures died, at {picture.name} or one of those after it ({reason}); if "
        "memory ran out, lower embed.decode_workers; everything finished is kept: run the same command again"
    )
