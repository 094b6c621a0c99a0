"""What runs in a Ray worker: one engine, which answers whole shards of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cache.errors import MachineError
from stages.teacher.engines.engine import Answer, Engine, Request
from stages.teacher.engines.engine_worker import Maker


@dataclass(frozen=True, slots=True)
class ShardResult:
    """Answers to a shard, and what the engine said meanwhile."""

    answers: list[Answer]
    lines: list[str]


class RayWorker:
    """An actor's state. The engine is loaded at the first shard and kept for the following ones."""

    def __init__(self, make: Maker) -> None:
        self._lines: list[str] = []
        self._engine: Engine = make(self._lines.append)

    def answer(self, shard: Sequence[Request]) -> ShardResult:
        """Raises what the engine raises; after a MachineError the next call loads the engine anew."""
        self._lines.clear()
        try:
            answers = list(self._engine.answer(shard))
        except MachineError:
            self._engine.close()
            raise
        return ShardResult(answers, list(self._lines))

    def close(self) -> list[str]:
        """Frees the engine; returns what it said."""
        self._lines.clear()
        self._engine.close()
        return list(self._lines)
