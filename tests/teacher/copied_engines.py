"""Engines whose copies run in other processes: the template engine, and some that misbehave there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from cache.errors import MachineError, UserError
from stages.teacher.engines.engine import Answer, Contrast, Request
from stages.teacher.engines.template import TemplateEngine
from tests.teacher.examples import VOCABULARY, jumping, request

Say = Callable[[str], None]
CONTRAST = Contrast("diving", {"agent": "n00000003"})


def template(say: Say) -> TemplateEngine:
    return TemplateEngine(VOCABULARY)


def numbered(count: int) -> list[Request]:
    plain = request(jumping(), CONTRAST)
    return [replace(plain, key=str(number), seed=number) for number in range(count)]


class Lookahead:
    """Answers nothing before it holds `window` requests or their source has ended, as a real engine does."""

    def __init__(self, window: int, say: Say) -> None:
        self._window, self._say, self._engine = window, say, template(say)

    def identity(self) -> Mapping[str, Any]:
        return self._engine.identity()

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        source = iter(requests)
        while held := list(islice(source, self._window)):
            for answer in self._engine.answer(held):
                yield replace(answer, error=f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}")

    def close(self) -> None:
        self._say(f"process {os.getpid()} closed its engine")


class Faulty(Lookahead):
    """Exits its process or raises at the request `key` ("" = any); with a file `mark`, only once."""

    def __init__(self, key: str, how: str, mark: Path | None, say: Say) -> None:
        super().__init__(1, say)
        self._key, self._how, self._mark = key, how, mark

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for asked in requests:
            if self._key in ("", asked.key) and not (self._mark and self._mark.exists()):
                self._fail()
            yield from super().answer([asked])

    def _fail(self) -> None:
        if self._mark:
            self._mark.touch()
        if self._how == "exit":
            os._exit(7)
        if self._how == "user":
            raise UserError("no model folder here")
        raise MachineError("the engine died")


def lookahead(window: int) -> Callable[[Say], Lookahead]:
    return partial(Lookahead, window)


def faulty(key: str, how: str, mark: Path | None = None) -> Callable[[Say], Faulty]:
    return partial(Faulty, key, how, mark)
