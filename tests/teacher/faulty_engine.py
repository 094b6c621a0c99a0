"""The template engine with faults: it answers wrongly where it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from stages.data.vocabulary import Vocabulary
from stages.teacher.engines.engine import Answer, Request
from stages.teacher.engines.template import TemplateEngine

Fault = Callable[[Request], Answer | None]


class FaultyEngine:
    """Answers with what `fault` returns, and where that is None as the template does.

    asked  every request it took, in order
    """

    def __init__(self, vocabulary: Vocabulary, fault: Fault = lambda request: None, window: int = 3) -> None:
        self._template = TemplateEngine(vocabulary)
        self._fault, self._window = fault, window
        self.asked: list[Request] = []

    def identity(self) -> Mapping[str, Any]:
        return self._template.identity()

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Holds `window` requests at once and answers the newest first, so that order is never relied on."""
        source, held = iter(requests), list[Request]()
        while True:
            while len(held) < self._window and (request := next(source, None)):
                self.asked.append(request)
                held.append(request)
            if not held:
                return
            request = held.pop()
            yield self._fault(request) or next(self._template.answer([request]))

    def close(self) -> None:
        """There is nothing to free."""
