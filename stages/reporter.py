"""How a stage tells what it is doing, without knowing whether a person, a file or nobody listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

Advance = Callable[[int], None]


class Reporter(Protocol):
    """Progress, sentences for a person, and events for a program."""

    def progress(
        self, title: str, total: int, done: int = 0, unit: str = "picture"
    ) -> AbstractContextManager[Advance]:
        """Shows `done` of `total` units, a rate and an estimate while the block runs."""
        ...

    def say(self, line: str) -> None:
        """One line for the person at the terminal."""
        ...

    def event(self, name: str, **fields: Any) -> None:
        """One line of events.jsonl; fields are JSON values."""
        ...


class SilentReporter:
    """Tells nobody: for notebooks and tests."""

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0, unit: str = "picture") -> Iterator[Advance]:
        yield lambda count: None

    def say(self, line: str) -> None:
        pass

    def event(self, name: str, **fields: Any) -> None:
        pass
